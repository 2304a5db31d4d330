"""Cells of a comparison: each is one plain command in a process of its own.

A cell is a config file and overrides; ``command`` gives the command that runs it, so that any
scheduler can (``ekipl compare --print-cells``). ``run_cells`` runs them side by side here, each
with a fixed number of threads; a cell whose parent dies stops too. A cell speaks in JSON lines on
standard output (``--events``); everything else it prints goes to its log file. Cells are
resumable: a second start continues.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError

#: Called with (cell name, event) for every event of every cell, in the order of arrival.
EventSink = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run of a comparison: a name unique in it, a config file, overrides ``a.b=c``.

    ``words``: what `ekipl` is given, where that is not ``train --config`` with the two.
    """

    name: str
    config: Path
    overrides: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CellResult:
    """How a cell ended: exit code (0 finished, 2 wrong use, 130 interrupted), run id, its log."""

    cell: RunSpec
    returncode: int
    run_id: str | None
    log: Path


def plan_cells(
    configs: Sequence[Path], overrides: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[RunSpec]:
    """One cell for each config file, named after the file; names must differ.

    With ``seeds`` one for each seed and file, seed by seed: ``demo_grpo-s1`` runs with ``seed=1``.
    """
    for path in configs:
        if not path.is_file():
            raise ConfigError(
                f"Config file {path} does not exist; configs/ lists the shipped ones."
            )
    names = [path.stem for path in configs]
    double = {name for name in names if names.count(name) > 1}
    if double:
        raise ConfigError(
            f"Two config files are called {sorted(double)[0]!r}; cells are named after their file, "
            "so rename one."
        )
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"A seed is named twice in {list(seeds)}; a run of it is the same run.")
    if not seeds:
        return [RunSpec(path.stem, path, tuple(overrides)) for path in configs]
    return [
        RunSpec(name, path, (*overrides, f"seed={seed}", f"name={name}"))
        for seed in seeds
        for path in configs
        for name in [f"{path.stem}-s{seed}"]
    ]


def command(cell: RunSpec, *, fresh: bool = False) -> list[str]:
    """The command line of a cell."""
    start, again = [sys.executable, "-m", "ekipl_lab"], ["--fresh"] if fresh else []
    if cell.words:
        return [*start, *cell.words, *again]
    return [*start, "train", "--config", str(cell.config), *again, *cell.overrides]


def environment(threads: int) -> dict[str, str]:
    """The environment of a cell: ``threads`` threads in every numeric library, no network."""
    count = str(threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
        "PYTHONUNBUFFERED": "1",
    }


def parse_event(line: str) -> dict[str, Any] | None:
    """The event in one line of a cell's output, or None where the line is something else."""
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


class _Running:
    """A started cell: its process and the thread that reads what it says."""

    def __init__(
        self, cell: RunSpec, log: Path, threads: int, fresh: bool, inbox: queue.Queue[Any]
    ):
        self.cell, self.log, self.inbox = cell, log, inbox
        self.run_id: str | None = None
        self.process = subprocess.Popen(
            [*command(cell, fresh=fresh), "--events"],
            env=environment(threads),
            stdin=subprocess.PIPE,  # closes however this process dies; the cell then stops
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.log.open("a", encoding="utf-8") as log:
            for line in self.process.stdout:
                with contextlib.suppress(OSError):  # a full disk: the cell's own end says so
                    log.write(line)
                    log.flush()
                event = parse_event(line)
                if event is not None:
                    self.run_id = event.get("run_id", self.run_id)
                    self.inbox.put((self.cell.name, event))
        self.inbox.put((self.cell.name, None))

    def result(self) -> CellResult:
        """Wait for the end and give how it ended."""
        return CellResult(self.cell, self.process.wait(), self.run_id, self.log)


def run_cells(
    cells: Sequence[RunSpec],
    *,
    jobs: int,
    logs: Path,
    on_event: EventSink,
    threads: int = 1,
    fresh: bool = False,
) -> list[CellResult]:
    """Run all cells, ``jobs`` at a time, and give their results in order.

    Ctrl-C (or SIGTERM) is passed on to every running cell, which saves and marks its run KILLED;
    it is raised again once they have ended.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}; it must be at least 1.")
    logs.mkdir(parents=True, exist_ok=True)
    inbox: queue.Queue[Any] = queue.Queue()
    waiting, running, results = list(cells), dict[str, _Running](), dict[str, CellResult]()
    interrupted = False
    while waiting or running:
        while waiting and len(running) < jobs and not interrupted:
            cell = waiting.pop(0)
            log = logs / f"{cell.name}.log"
            running[cell.name] = _Running(cell, log, threads, fresh, inbox)
        if not running:
            break
        try:
            name, event = inbox.get()
        except KeyboardInterrupt:
            interrupted = True
            for started in running.values():
                started.process.send_signal(signal.SIGINT)
            continue
        if event is None:
            results[name] = running.pop(name).result()
        else:
            on_event(name, event)
    if interrupted:
        raise KeyboardInterrupt
    return [results[cell.name] for cell in cells]
