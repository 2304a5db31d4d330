"""What a step collects: rows of the policy, pools of candidates, the groups of a generation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ekipl_lab.teachers.gateway.spending import Counts, of_all_ranks
from ekipl_lab.types import Action, ActionGroup, RewardBreakdown, Usage

#: ``TeacherReply.refused`` of an action that never came: a gateway may skip calls that failed.
NO_REPLY = "missing"


@dataclass(frozen=True, slots=True)
class Row:
    """One completion of the policy: the index of its sample, its tokens (EOS included)."""

    sample_index: int
    action: Action


@dataclass(frozen=True, slots=True)
class TeacherReply:
    """One action that a teacher was asked for: its cost, and why it is no candidate, if so.

    ``refused`` is a reason of `encoding.REFUSALS`, or `NO_REPLY`.
    """

    teacher: str
    refused: str | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class Pool:
    """All candidates of one prompt (policy first), their rewards and the tokens of each.

    ``replies`` lists every action asked of a teacher, in order, refused ones included; ``logprobs``
    are the teachers' own, of those tokens, None for the policy's and where a teacher gave none;
    ``not_asked`` holds (teacher, reason of `gates.REASONS`).
    """

    sample_index: int
    actions: tuple[Action, ...]
    rewards: tuple[RewardBreakdown, ...]
    token_ids: tuple[tuple[int, ...], ...]
    replies: tuple[TeacherReply, ...] = ()
    logprobs: tuple[tuple[float, ...] | None, ...] = ()
    not_asked: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationBatch:
    """Everything of one generation: global, and the same on every rank.

    ``groups`` and ``pools`` (n,) in the order of the global batch; ``seconds`` of this rank;
    ``spent``: what the gateway of a teacher counted since the generation before.
    """

    groups: tuple[ActionGroup, ...]
    pools: tuple[Pool, ...]
    seconds: Mapping[str, float]
    spent: Mapping[str, Counts] = field(default_factory=dict)

    @property
    def pairs(self) -> list[tuple[ActionGroup, Pool]]:
        """Every group with the pool that it was selected from."""
        return list(zip(self.groups, self.pools, strict=True))


def joined(batches: Sequence[GenerationBatch]) -> GenerationBatch:
    """The generations of one optimiser step as one: groups in order, seconds and counts added."""
    seconds: Counter[str] = Counter()
    for batch in batches:
        seconds.update(batch.seconds)
    return GenerationBatch(
        tuple(group for batch in batches for group in batch.groups),
        tuple(pool for batch in batches for pool in batch.pools),
        seconds,
        of_all_ranks([batch.spent for batch in batches]),
    )
