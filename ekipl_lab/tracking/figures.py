"""The figures of a run that has ended, sealed: MLflow's database does not notice a changed one.

``metrics.json`` among the artifacts holds, per metric, its last value and the sum of the SHA-256
of its points, in whatever order they come. A server keeps its own files, and has none.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ekipl_lab.errors import DataError

if TYPE_CHECKING:
    from ekipl_lab.tracking.artifacts import Artifacts

FIGURES = "metrics.json"
#: (step, value).
Point = tuple[int, float]


class FigureSums:
    """What a run logged, added up as it comes; of several values at a step the last counts."""

    def __init__(self, history: Mapping[str, Sequence[Point]]) -> None:
        self._sums: dict[str, tuple[int, Point]] = {}
        for name, points in history.items():
            for step, value in points:
                self.add(name, step, value)

    def add(self, name: str, step: int, value: float) -> None:
        """One more point; ``value`` as MLflow keeps it."""
        total, last = self._sums.get(name, (0, (step, value)))
        self._sums[name] = total + (_digest(last) if last[0] != step else 0), (step, value)

    def write(self, artifacts: Artifacts) -> None:
        """Keep them, in a store whose files are here."""
        figures = {n: [p[1], _text(total + _digest(p))] for n, (total, p) in self._sums.items()}
        if figures and artifacts.local is not None:
            artifacts.write(FIGURES, json.dumps(figures, indent=1, sort_keys=True))


def check_figures(
    run: str,
    metrics: Mapping[str, float],
    artifacts: Artifacts,
    history: Mapping[str, Sequence[Point]],
) -> None:
    """DataError if a last value, or a point of ``history``, is not what the run logged."""
    if artifacts.local is None or not (artifacts.local / FIGURES).is_file():
        return
    logged = json.loads(artifacts.fetch(FIGURES).read_text(encoding="utf-8"))
    for name, (value, points) in logged.items():
        found = metrics.get(name)
        same = found is not None and (found == value or (math.isnan(found) and math.isnan(value)))
        if not same or (name in history and _sum(history[name]) != points):
            raise DataError(
                f"Run {run}: metric {name!r} in MLflow's database is not "
                f"what the run logged ({artifacts.local / FIGURES}); put the database back from a "
                "copy."
            )


def _digest(point: Point) -> int:
    text = f"{point[0]} {float(point[1])!r}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def _sum(points: Iterable[Point]) -> str:
    return _text(sum(map(_digest, points)))


def _text(total: int) -> str:
    return f"{total % 2**128:032x}"
