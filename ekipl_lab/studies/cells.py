"""Cells of a comparison: each is one plain command in a process of its own.

A cell is a config file and overrides; ``command`` gives the command that runs it, so that any
scheduler can (``ekipl compare --print-cells``); ``launchers`` run them here or on other engines. A
cell speaks in JSON lines on standard output (``--events``); everything else it prints goes to its
log file. Cells are resumable: a second start continues.
"""

from __future__ import annotations

import json
import os
import sys
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

    def last_line(self) -> str:
        """What the cell said last: why it failed, if it did."""
        return "".join(self.log.read_text(encoding="utf-8").strip().splitlines()[-1:])


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
    if any(given.partition("=")[0].strip() == "seed" for given in overrides):
        raise ConfigError("An override sets the seed, and so does --seeds; give one of them.")
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
    """The event in one line of a cell's output, or None where the line is something else.

    It may stand behind a progress bar, which has no end of line of its own.
    """
    begin = line.find('{"event": ')
    try:
        event = json.loads(line[begin:]) if begin >= 0 else None
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
