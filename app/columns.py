"""Several sources on one item, side by side: a column each, with what it said and what it earned.

Values only; ``html.render_columns`` draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.aligned import Row, align
from app.completion import Completion, describe
from ekipl_lab.types import MISSING, Action, RewardBreakdown, Sample

#: Different chains of one source that are shown; more are counted.
MAX_OTHERS = 12


@dataclass(frozen=True, slots=True)
class Said(Completion):
    """A completion and how many ``times`` it was sampled."""

    times: int


@dataclass(frozen=True, slots=True)
class Column:
    """What one source said, the most frequent first; or a ``message`` in place of it.

    ``right`` of ``scored`` actions are right; ``color`` is the accent of its source.
    """

    title: str
    note: str
    color: str
    said: tuple[Said, ...] = ()
    right: int = 0
    scored: int = 0
    message: str = ""

    @property
    def first(self) -> Said | None:
        """What is compared: the most frequent completion."""
        return self.said[0] if self.said else None

    @property
    def others(self) -> tuple[Said, ...]:
        """Its other completions."""
        return self.said[1:]


def column(
    title: str,
    note: str,
    color: str,
    sample: Sample,
    pairs: Iterable[tuple[Action, RewardBreakdown | None]],
) -> Column:
    """The column of a source's actions; no reward where there is no true answer to judge by."""
    given = [(a, r) for a, r in pairs if a.finish_reason != MISSING]
    if not given:
        return Column(title, note, color, message="The source gave no action here.")
    counts: dict[str, int] = {}
    for action, _ in given:
        counts[action.completion] = counts.get(action.completion, 0) + 1
    firsts = {action.completion: (action, reward) for action, reward in reversed(given)}
    frequent = sorted(counts, key=lambda text: -counts[text])[: MAX_OTHERS + 1]
    success = [reward.success for _, reward in given if reward is not None]
    return Column(
        title,
        note,
        color,
        tuple(Said(**describe(sample, *firsts[text]), times=counts[text]) for text in frequent),
        right=sum(value is True for value in success),
        scored=sum(value is not None for value in success),
    )


def rows_of(columns: Sequence[Column]) -> list[Row]:
    """The steps of every column's first completion, aligned; a column without any is left blank."""
    return align([column.first.steps if column.first else () for column in columns])
