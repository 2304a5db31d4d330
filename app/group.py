"""A group in words and numbers: plain values, which the page and the API show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.chains import Step, check_steps, read_steps
from app.why import explain_candidate, explain_spread, pool_order
from ekipl_lab.benchmarks.mini.steps import ChainReport
from ekipl_lab.parsing import parse_completion
from ekipl_lab.plots import figures as plots
from ekipl_lab.types import POLICY, Action, ActionGroup, Sample

#: Longest completion shown as a card; the raw view says how much was cut.
MAX_SHOWN = 8_000


@dataclass(frozen=True, slots=True)
class Criterion:
    """One component of a reward."""

    name: str
    value: float | None
    weight: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One action of the pool, ready to be shown. ``number`` counts from 1 in pool order."""

    number: int
    source: str
    model_id: str
    is_policy: bool
    color: str
    sentences: tuple[str, ...]
    steps: tuple[Step, ...]
    check: ChainReport | None
    answer: str | None
    problem: str
    success: bool | None
    criteria: tuple[Criterion, ...]
    total: float | None
    explanation: str
    kept: bool
    why: str
    place: int
    advantage: float | None
    finish_reason: str
    num_tokens: int | None
    price: float
    is_cached: bool
    raw: str
    raw_length: int


@dataclass(frozen=True, slots=True)
class Card:
    """Candidates of one source that wrote the same, shown as one: the best placed of them."""

    shown: Candidate
    same: tuple[Candidate, ...]

    @property
    def kept(self) -> int:
        """How many of them were kept."""
        return sum(candidate.kept for candidate in self.same)


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What one source gave: candidates, right ones, kept ones, their price in USD."""

    source: str
    color: str
    candidates: int
    right: int
    kept: int
    price: float


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group in words and numbers."""

    sample: Sample
    rule: str
    spread: str
    candidates: tuple[Candidate, ...]
    sources: tuple[SourceSummary, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """Numbers of the candidates, best first."""
        return tuple(c.number for c in sorted(self.candidates, key=lambda c: c.place))

    @property
    def cards(self) -> tuple[Card, ...]:
        """The candidates with identical ones folded, in pool order."""
        found: dict[tuple[object, ...], list[Candidate]] = {}
        for c in self.candidates:
            key = (c.source, c.raw, c.raw_length, c.total, c.success, c.finish_reason)
            found.setdefault(key, []).append(c)
        return tuple(Card(min(same, key=lambda c: c.place), tuple(same)) for same in found.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values for API clients."""
        facts = describe_sample(self.sample)
        return {
            "sample_id": facts.pop("id"),
            **facts,
            "rule": self.rule,
            "spread": self.spread,
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "sources": [asdict(source) for source in self.sources],
            "order": self.order,
        }


def describe_sample(sample: Sample) -> dict[str, Any]:
    """A sample without its images."""
    names = ("id", "task", "split", "family", "difficulty", "question", "answer")
    return {name: getattr(sample, name) for name in names}


def describe_group(group: ActionGroup) -> GroupView:
    """Everything the page says about a group."""
    colours = plots.source_colours(action.source for action in group.candidates)
    candidates = tuple(_describe(group, i, colours) for i in range(len(group.candidates)))
    return GroupView(
        group.sample, group.rule, explain_spread(group), candidates, _sources(candidates)
    )


def _describe(group: ActionGroup, index: int, colours: Mapping[str, str]) -> Candidate:
    action, reward = group.candidates[index], group.rewards[index]
    parsed = parse_completion(action.completion)
    check = check_steps(group.sample, action.completion)
    steps = read_steps(parsed.think or "", check)
    advantages = dict(zip(group.kept, group.advantages, strict=True))
    return Candidate(
        number=index + 1,
        source=action.source,
        model_id=action.model_id,
        is_policy=action.source == POLICY,
        color=colours[action.source],
        sentences=tuple(step.text for step in steps),
        steps=steps,
        check=check,
        answer=parsed.answer,
        problem=parsed.problem,
        success=reward.success,
        criteria=tuple(
            Criterion(name, value, reward.weights.get(name, 0.0))
            for name, value in reward.components.items()
        ),
        total=reward.total,
        explanation=reward.explanation,
        kept=index in advantages,
        why=explain_candidate(group, index),
        place=pool_order(group).index(index) + 1,
        advantage=advantages.get(index),
        finish_reason=action.finish_reason,
        num_tokens=_num_tokens(action),
        price=action.usage.cost if action.usage else 0.0,
        is_cached=action.usage is not None and action.usage.cached,
        raw=action.completion[:MAX_SHOWN],
        raw_length=len(action.completion),
    )


def _num_tokens(action: Action) -> int | None:
    """Tokens written; by the server's own count where the tokens themselves are not known."""
    if action.token_ids is not None:
        return len(action.token_ids)
    return (action.usage.completion_tokens or None) if action.usage else None


def _sources(candidates: Sequence[Candidate]) -> tuple[SourceSummary, ...]:
    names = dict.fromkeys(c.source for c in candidates)
    return tuple(
        SourceSummary(
            name,
            own[0].color,
            len(own),
            sum(c.success is True for c in own),
            sum(c.kept for c in own),
            sum(c.price for c in own),
        )
        for name in names
        for own in [[c for c in candidates if c.source == name]]
    )
