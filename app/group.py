"""A group in words and numbers: plain values, which the page and the API show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.completion import Completion, describe
from app.why import explain_candidate, explain_spread, pool_order
from ekipl_lab.plots import figures as plots
from ekipl_lab.types import POLICY, ActionGroup, Sample


@dataclass(frozen=True, slots=True)
class Candidate(Completion):
    """One action of the pool, ready to be shown. ``number`` counts from 1 in pool order."""

    number: int
    source: str
    model_id: str
    is_policy: bool
    color: str
    sentences: tuple[str, ...]
    kept: bool
    why: str
    place: int
    advantage: float | None


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
    action = group.candidates[index]
    said = describe(group.sample, action, group.rewards[index])
    advantages = dict(zip(group.kept, group.advantages, strict=True))
    return Candidate(
        **said,
        number=index + 1,
        source=action.source,
        model_id=action.model_id,
        is_policy=action.source == POLICY,
        color=colours[action.source],
        sentences=tuple(step.text for step in said["steps"]),
        kept=index in advantages,
        why=explain_candidate(group, index),
        place=pool_order(group).index(index) + 1,
        advantage=advantages.get(index),
    )


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
