"""Cells side by side on this machine, each a process with a fixed number of threads.

A cell whose parent dies stops too.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.studies import cells as plain
from ekipl_lab.studies.cells import CellResult, EventSink, RunSpec

#: Processes side by side where nothing else is said.
JOBS = 2


class Started:
    """A started cell: its process and the thread that reads what it says."""

    def __init__(
        self, cell: RunSpec, log: Path, threads: int, fresh: bool, inbox: queue.Queue[Any]
    ):
        self.cell, self.log, self.inbox = cell, log, inbox
        self.run_id: str | None = None
        self.process = subprocess.Popen(
            [*plain.command(cell, fresh=fresh), "--events"],
            env=plain.environment(threads),
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
                event = plain.parse_event(line)
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
    jobs: int | None = None,
    logs: Path,
    on_event: EventSink,
    threads: int = 1,
    fresh: bool = False,
) -> list[CellResult]:
    """Run all cells, ``jobs`` at a time, and give their results in order.

    Ctrl-C (or SIGTERM) is passed on to every running cell, which saves and marks its run KILLED;
    it is raised again once they have ended.
    """
    jobs = JOBS if jobs is None else jobs
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}; it must be at least 1.")
    logs.mkdir(parents=True, exist_ok=True)
    inbox: queue.Queue[Any] = queue.Queue()
    waiting, running, results = list(cells), dict[str, Started](), dict[str, CellResult]()
    interrupted = False
    while waiting or running:
        while waiting and len(running) < jobs and not interrupted:
            cell = waiting.pop(0)
            log = logs / f"{cell.name}.log"
            running[cell.name] = Started(cell, log, threads, fresh, inbox)
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
            ended = results[name] = running.pop(name).result()
            if ended.returncode != 0 and not interrupted:  # the others go on for long, perhaps
                failed = {"event": "message", "phase": "failed", "text": ended.last_line()}
                on_event(name, failed)
        else:
            on_event(name, event)
    if interrupted:
        raise KeyboardInterrupt
    return [results[cell.name] for cell in cells]
