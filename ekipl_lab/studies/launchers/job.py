"""What an engine is given for one cell: its plain command, to run on the machine it is sent to.

Every start of a job continues the cell. The cell runs in a process of its own, which stops when
that of the job is gone, so that a killed job leaves no cell behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ekipl_lab.studies.cells import RunSpec, parse_event
from ekipl_lab.studies.launchers.local import Started

#: Seconds that a cell has to save itself when its job is asked to leave.
_GRACE = 60.0
#: Exit codes of a command that SIGINT or SIGTERM ended.
_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Answer:
    """How the command of a cell ended: exit code, MLflow run, the last line it printed."""

    returncode: int
    run_id: str | None
    said: str

    @property
    def killed(self) -> bool:
        """Whether it was ended from outside, and not by an error of its own."""
        return self.returncode < 0 or self.returncode in _INTERRUPTED


@dataclass
class Job:
    """A cell to run in ``folder`` with ``environment`` beside what the machine has.

    ``fresh`` holds until the cell has begun anew; later starts continue.
    """

    cell: RunSpec
    folder: Path
    logs: Path
    threads: int = 1
    fresh: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    _started: Started | None = field(default=None, init=False, repr=False)

    @property
    def log(self) -> Path:
        """Where all that the cell prints goes."""
        return self.logs / f"{self.cell.name}.log"

    def __call__(self) -> Answer:
        """Run the cell to its end, however that is."""
        os.chdir(self.folder)
        os.environ.update(self.environment)
        self.logs.mkdir(parents=True, exist_ok=True)
        fresh = self.fresh and not self._begun()
        inbox: queue.Queue[Any] = queue.Queue()
        self._started = Started(self.cell, self.log, self.threads, fresh, inbox)
        try:
            while inbox.get()[1] is not None:
                pass
        except KeyboardInterrupt:
            self.stop()
            raise
        result = self._started.result()
        return Answer(result.returncode, result.run_id, last_line(self.log))

    def _begun(self) -> bool:
        """Whether the cell has said that it started; `watch.launch` begins with an empty log."""
        if not self.log.exists():
            return False
        events = map(parse_event, self.log.read_text(encoding="utf-8").splitlines())
        return any(event and event["event"] == "start" for event in events)

    def stop(self) -> None:
        """Have the cell save itself, and wait for that."""
        if self._started is not None:
            self._started.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._started.process.wait(_GRACE)

    def again(self) -> Job:
        """The same job, not started."""
        return dataclasses.replace(self)


def last_line(log: Path) -> str:
    """The last line of a log; nothing where there is none."""
    lines = log.read_text(encoding="utf-8").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""
