"""Several sources on one item, side by side: a column each, with what it said and what it earned.

Values only; ``html.render_columns`` draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.aligned import Row, align
from app.chains import Step, check_steps, read_steps
from app.group import MAX_SHOWN, Criterion
from ekipl_lab.benchmarks.mini.steps import ChainReport
from ekipl_lab.parsing import parse_completion
from ekipl_lab.types import MISSING, Action, RewardBreakdown, Sample

#: Different chains of one source that are shown; more are counted.
MAX_OTHERS = 12


@dataclass(frozen=True, slots=True)
class Said:
    """One completion, ready to be shown; ``times`` it was sampled."""

    steps: tuple[Step, ...]
    check: ChainReport | None
    answer: str | None
    problem: str
    success: bool | None
    criteria: tuple[Criterion, ...]
    total: float | None
    explanation: str
    finish_reason: str
    num_tokens: int | None
    price: float
    is_cached: bool
    raw: str
    raw_length: int
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
        tuple(_said(sample, *firsts[text], counts[text]) for text in frequent),
        right=sum(value is True for value in success),
        scored=sum(value is not None for value in success),
    )


def rows_of(columns: Sequence[Column]) -> list[Row]:
    """The steps of every column's first completion, aligned; a column without any is left blank."""
    return align([column.first.steps if column.first else () for column in columns])


def _said(sample: Sample, action: Action, reward: RewardBreakdown | None, times: int) -> Said:
    parsed = parse_completion(action.completion)
    check = check_steps(sample, action.completion)
    weights = {} if reward is None else reward.weights
    components = {} if reward is None else reward.components
    return Said(
        steps=read_steps(parsed.think or "", check),
        check=check,
        answer=parsed.answer,
        problem=parsed.problem,
        success=None if reward is None else reward.success,
        criteria=tuple(Criterion(n, v, weights.get(n, 0.0)) for n, v in components.items()),
        total=None if reward is None else reward.total,
        explanation="" if reward is None else reward.explanation,
        finish_reason=action.finish_reason,
        num_tokens=_num_tokens(action),
        price=action.usage.cost if action.usage else 0.0,
        is_cached=action.usage is not None and action.usage.cached,
        raw=action.completion[:MAX_SHOWN],
        raw_length=len(action.completion),
        times=times,
    )


def _num_tokens(action: Action) -> int | None:
    if action.token_ids is not None:
        return len(action.token_ids)
    return (action.usage.completion_tokens or None) if action.usage else None
