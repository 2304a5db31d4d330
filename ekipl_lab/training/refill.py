"""Dynamic sampling: groups without spread give their rows to other prompts, so many times at most.

After a generation, a group whose kept rewards are all equal for a cause that `Refill` names (the
doctor's words) teaches nothing. Other prompts are sampled and asked about in its place, at most
``rounds`` times a generation; what has no spread after the last round stays as it is. DAPO (arXiv
2503.14476) samples until the batch is full, and judges by accuracy alone. Teachers come first: with
the gate ``if_no_spread`` they are asked about just these groups, and one that they give spread to
is not dropped.

Which prompts come in follows from the run's seed, the step and the round, so that a resumed run
draws the same. What was generated for nothing counts as cost; it is not in the group records.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ekipl_lab.errors import DataError
from ekipl_lab.groups.collect import GenerationBatch, joined
from ekipl_lab.groups.doctor.causes import zero_spread_cause
from ekipl_lab.groups.options import Refill
from ekipl_lab.types import ActionGroup


@dataclass(frozen=True, slots=True)
class Draft:
    """A generation on one process: TRL's rows, what its ``_generate`` gave for them, the groups."""

    inputs: list[dict[str, Any]]
    generated: tuple[Any, ...]
    batch: GenerationBatch

    def exchange(self, at: int, other: Draft, there: int, size: int) -> None:
        """Put the rows of the other's group ``there`` in the place of group ``at``, row by row."""
        mine, theirs = (slice(i * size, (i + 1) * size) for i in (at, there))
        rows = len(self.inputs)
        self.inputs[mine] = other.inputs[theirs]
        for own, new in zip(self.generated, other.generated, strict=True):
            if (own is None) != (new is None):
                raise DataError(
                    "ekipl.refill cannot exchange prompts with pictures for prompts without; set "
                    "ekipl.refill.rounds=0, or leave one kind out of the data."
                )
            if isinstance(own, list) and len(own) == rows:
                own[mine] = new[theirs]


@dataclass(frozen=True, slots=True)
class Refilled:
    """What is trained on, all that was generated for it, and the metrics ``refill/...``."""

    draft: Draft
    made: GenerationBatch
    metrics: dict[str, float]


def refilled(
    first: Draft,
    more: Callable[[list[int]], Draft],
    settings: Refill,
    *,
    size: int,
    count: int,
    key: tuple[int, ...],
) -> Refilled:
    """``first`` with its groups without spread exchanged for those of other prompts.

    ``more`` makes a draft of so many sample indices; ``size`` rows make a group; there are
    ``count`` samples; ``key`` (seed, step, number of the generation in it) draws the prompts.
    """
    groups, pools = list(first.batch.groups), list(first.batch.pools)
    made, dropped, rounds = [first.batch], Counter[str](), 0
    seen = {row["sample_index"] for row in first.inputs}
    while rounds < settings.rounds and (dead := without_spread(groups, settings.causes)):
        fresh = other_prompts(len(dead), seen, count, (*key, rounds))
        if not fresh:
            break
        rounds += 1
        seen |= set(fresh)
        other = more(fresh)
        made.append(other.batch)
        useless = set(without_spread(other.batch.groups, settings.causes))
        live = [j for j in range(len(fresh)) if j not in useless]
        for at, there in zip(dead, live, strict=False):
            dropped[zero_spread_cause(groups[at]) or ""] += 1
            first.exchange(at, other, there, size)
            groups[at], pools[at] = other.batch.groups[there], other.batch.pools[there]
    everything = joined(made)
    metrics = {"rounds": rounds, "replaced": dropped.total()} | dropped
    metrics["left"] = len(without_spread(groups, settings.causes))
    batch = replace(everything, groups=tuple(groups), pools=tuple(pools))
    named = {f"refill/{name}": float(value) for name, value in metrics.items()}
    return Refilled(replace(first, batch=batch), everything, named)


def without_spread(groups: Sequence[ActionGroup], causes: Collection[str]) -> list[int]:
    """The groups whose kept rewards are all equal for one of the causes."""
    return [i for i, group in enumerate(groups) if zero_spread_cause(group) in causes]


def other_prompts(
    wanted: int, seen: Collection[int], count: int, key: tuple[int, ...]
) -> list[int]:
    """Up to ``wanted`` of ``count`` samples that are not ``seen``, drawn by ``key`` alone."""
    left = [index for index in range(count) if index not in seen]
    return random.Random(repr(key)).sample(left, min(wanted, len(left)))
