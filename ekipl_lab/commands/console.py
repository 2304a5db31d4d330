"""What long work shows on a terminal: one line per cell, live on a terminal, plain lines in a log.

Events are plain dicts with ``event`` (``start``, ``progress``, ``finish``, ``message``),
``phase``, ``part`` (of what, where a phase has several), ``step``, ``total`` and ``metrics``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ekipl_lab.tables import piped

#: Seconds between two plain lines of one cell where the output is not a terminal.
PLAIN_INTERVAL = 10.0


@dataclass
class _Row:
    phase: str = "waiting"
    step: int = 0
    total: int = 0
    phase_began: float = field(default_factory=time.monotonic)
    first_step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    printed: float = -PLAIN_INTERVAL

    def update(self, event: Mapping[str, Any], now: float) -> bool:
        """Take an event in; True if the phase is new."""
        phase = phase_of(event) or self.phase
        changed = phase != self.phase
        self.step = int(event.get("step", 0 if changed else self.step))
        self.total = int(event.get("total", 0 if changed else self.total))
        if changed:
            self.phase, self.phase_began, self.first_step = phase, now, self.step
        self.metrics.update(event.get("metrics") or {})
        return changed

    def cells(self, now: float) -> tuple[str, str, str, str]:
        """Phase, step of how many, time left, latest metrics; empty where that is not known."""
        place = f"{self.step}/{self.total}" if self.total else ""
        return self.phase, place, self.remaining(now), format_metrics(self.metrics)

    def remaining(self, now: float) -> str:
        """Time left in this phase at its mean speed so far, or nothing where that is not known."""
        done = self.step - self.first_step
        if done <= 0 or self.total <= self.step:
            return ""
        seconds = (now - self.phase_began) / done * (self.total - self.step)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"


def phase_of(event: Mapping[str, Any]) -> str:
    """What an event's work is called: ``evaluation of validation, greedy``."""
    phase, part = str(event.get("phase", event.get("event", ""))), event.get("part")
    return f"{phase} of {part}" if part else phase


def format_metrics(metrics: Mapping[str, float]) -> str:
    """``name value`` pairs, short."""
    return "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())


class CellProgress:
    """Context manager; call it with (cell name, event)."""

    def __init__(self, names: list[str], console: Console | None = None):
        self.console = console or piped()
        self.rows = {name: _Row() for name in names}
        self.began = time.monotonic()
        self.live = Live(self._table(), console=self.console, refresh_per_second=4, transient=False)

    def __enter__(self) -> CellProgress:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self.live.update(self._table())
            self.live.stop()

    def __call__(self, name: str, event: Mapping[str, Any]) -> None:
        """Show an event of a cell."""
        now = time.monotonic()
        row = self.rows[name]
        changed = row.update(event, now)
        if event.get("event") == "message":
            self.console.print(f"{name}: {event.get('text', '')}", markup=False)
        if self.console.is_terminal:
            self.live.update(self._table())
        elif changed or now - row.printed >= PLAIN_INTERVAL:
            row.printed = now
            line = [f"[{now - self.began:5.0f} s]", f"{name}:", *filter(None, row.cells(now))]
            self.console.print(" ".join(line), markup=False, soft_wrap=True)

    def _table(self) -> Table:
        now = time.monotonic()
        table = Table(box=None, pad_edge=False)
        for heading in ("cell", "phase", "step", "", "latest"):
            table.add_column(heading)
        for name, row in self.rows.items():
            table.add_row(name, *row.cells(now))
        return table
