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

import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ekipl_lab.errors import DataError
from ekipl_lab.groups.doctor.causes import zero_spread_cause
from ekipl_lab.groups.options import Refill
from ekipl_lab.groups.pool import GenerationBatch, joined
from ekipl_lab.types import ActionGroup

#: The place of a generation's pictures in what TRL's ``_generate`` gives. They are not sent.
PICTURES = 6


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of the run: ``gather`` joins lists in rank order; ``row`` is TRL's
    row of a sample."""

    rank: int
    count: int
    gather: Callable[[list[Any]], list[Any]]
    row: Callable[[int], dict[str, Any]]

    def share(self, rows: Sequence[Any]) -> Sequence[Any]:
        """This rank's part of rows that all have."""
        each = len(rows) // self.count
        return rows[self.rank * each : (self.rank + 1) * each]


@dataclass(frozen=True, slots=True)
class Draft:
    """A generation on one process: TRL's rows, what its ``_generate`` gave for them, the groups.

    The groups are those of all processes, each of which holds equally many rows in turn.
    """

    inputs: list[dict[str, Any]]
    generated: tuple[Any, ...]
    batch: GenerationBatch

    def exchange(
        self, moves: Sequence[tuple[int, int]], other: Draft, size: int, ranks: Ranks
    ) -> None:
        """For each (at, there) put the rows of the other's group ``there`` in the place of group
        ``at``, row by row, wherever they were generated."""
        kinds = [tuple(part is None for part in one.generated) for one in (self, other)]
        if len(set(ranks.gather(kinds))) > 1:
            raise DataError(
                "ekipl.refill cannot exchange prompts with pictures for prompts without; set "
                "ekipl.refill.rounds=0, or leave one kind out of the data."
            )
        found = ranks.gather(other._rows())
        first, other_first = (ranks.rank * len(one.inputs) for one in (self, other))
        for at, there in moves:
            for k in range(size):
                row, source = at * size + k - first, there * size + k
                if 0 <= row < len(self.inputs):
                    index, parts = found[source]
                    if 0 <= source - other_first < len(other.inputs):
                        given = other.inputs[source - other_first]
                        pictures = _part(other.generated[PICTURES], source - other_first)
                    else:
                        given = ranks.row(index)
                        pictures = given["images"] or None
                    self._put(row, given, [*parts[:PICTURES], pictures, *parts[PICTURES + 1 :]])

    def _rows(self) -> list[tuple[int, list[Any]]]:
        """Sample and parts of every row of this process, without pictures."""
        return [
            (given["sample_index"], [
                None if place == PICTURES or not self._by_row(part) else part[row]
                for place, part in enumerate(self.generated)
            ])
            for row, given in enumerate(self.inputs)
        ]  # fmt: skip

    def _put(self, row: int, given: dict[str, Any], parts: Sequence[Any]) -> None:
        self.inputs[row] = given
        for own, new in zip(self.generated, parts, strict=True):
            if self._by_row(own):
                own[row] = new

    def _by_row(self, part: Any) -> bool:
        return isinstance(part, list) and len(part) == len(self.inputs)


def _part(column: Any, row: int) -> Any:
    return column[row] if isinstance(column, list) else None


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
    ranks: Ranks,
) -> Refilled:
    """``first`` with its groups without spread exchanged for those of other prompts.

    ``more`` makes a draft of so many sample indices, of which each rank generates its share;
    ``size`` rows make a group; there are ``count`` samples; ``key`` (seed, step, number of the
    generation in it) draws the prompts, the same on all ranks: as many as give each rank equally
    many rows, which may be a few more than are exchanged.
    """
    groups, pools = list(first.batch.groups), list(first.batch.pools)
    made, dropped, rounds = [first.batch], Counter[str](), 0
    seen = set(ranks.gather([row["sample_index"] for row in first.inputs]))
    together = ranks.count // math.gcd(ranks.count, size)
    while rounds < settings.rounds and (dead := without_spread(groups, settings.causes)):
        wanted = -(-len(dead) // together) * together
        fresh = other_prompts(wanted, seen, count, (*key, rounds))
        fresh = fresh[: len(fresh) // together * together]
        if not fresh:
            break
        rounds += 1
        seen |= set(fresh)
        other = more(fresh)
        made.append(other.batch)
        useless = set(without_spread(other.batch.groups, settings.causes))
        live = [j for j in range(len(fresh)) if j not in useless]
        moves = list(zip(dead, live, strict=False))
        if moves:
            first.exchange(moves, other, size, ranks)
        for at, there in moves:
            dropped[zero_spread_cause(groups[at]) or ""] += 1
            groups[at], pools[at] = other.batch.groups[there], other.batch.pools[there]
    everything = joined(made)
    metrics = {"rounds": rounds, "replaced": dropped.total()}
    metrics |= {cause: dropped[cause] for cause in settings.causes}  # 0 too: they are averaged
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
