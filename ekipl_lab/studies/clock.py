"""How long the parts of a cell took, over all the processes that worked on it."""

from __future__ import annotations

import time
from pathlib import Path

from ekipl_lab.files import read_note, write_note

#: Seconds between two notes on disk: what a killed process may lose.
_EVERY = 5.0


class Clock:
    """Wall and CPU seconds of named parts, kept in a file; `tick` often, `part` at changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.parts: dict[str, dict[str, float]] = dict(read_note(path) or {})
        self._name = ""
        self._since = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.monotonic(), time.process_time()

    def part(self, name: str) -> None:
        """From now on the time is that of ``name``; "" is nobody's."""
        if name == self._name:
            self.tick()
            return
        self._keep()
        self._name = name

    def tick(self) -> None:
        """Note the time so far, if the last note is old."""
        if self._now()[0] - self._since[0] >= _EVERY:
            self._keep()

    def _keep(self) -> None:
        before, self._since = self._since, self._now()
        if self._name:
            part = self.parts.setdefault(self._name, {"wall": 0.0, "cpu": 0.0})
            part["wall"] += self._since[0] - before[0]
            part["cpu"] += self._since[1] - before[1]
            write_note(self._path, self.parts)

    def total(self, axis: str, *, without: str) -> float:
        """Seconds of all parts whose name does not begin with ``without``."""
        parts = self.parts.items()
        return sum(part[axis] for name, part in parts if not name.startswith(without))
