"""From the policy's completions of a step to scored, selected groups; on one process or many.

Groups are G consecutive rows of the global batch and may straddle ranks. The rank that holds the
first row of a group owns it: it asks the teachers, scores every candidate once, and hands the pool
(or the error that stopped it) to all ranks, which then build identical groups.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ekipl_lab.errors import ConfigError, DataError, TeacherError
from ekipl_lab.groups import build_group
from ekipl_lab.training.random_state import preserved
from ekipl_lab.training.tokenization import ActionEncoder
from ekipl_lab.types import (
    POLICY,
    Action,
    ActionGroup,
    ActionSource,
    GenerationParams,
    RewardBreakdown,
    Sample,
    Usage,
)

#: ``Given.refused`` of an action that never came: a gateway may skip calls that failed.
MISSING = "missing"

#: What an action of a sample earns; pure. None components where it cannot be scored.
Scorer = Callable[[Sample, Action], RewardBreakdown]


@dataclass(frozen=True, slots=True)
class Teacher:
    """A source of external actions, asked for ``actions`` (k) per prompt."""

    source: ActionSource
    actions: int = 1


@dataclass(frozen=True, slots=True)
class EKIPLOptions:
    """The method's own settings; see `selection`, `weighting`, `advantages`."""

    selection: str = "top_g"
    params: Mapping[str, Any] = field(default_factory=dict)
    weighting: str = "policy_ratio"
    weighting_params: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = "kept"
    scale_rewards: str = "group"


@dataclass(frozen=True, slots=True)
class Row:
    """One completion of the policy: the index of its sample, its tokens (EOS included)."""

    sample_index: int
    action: Action


@dataclass(frozen=True, slots=True)
class Given:
    """One action that a teacher was asked for: its cost, and why it is no candidate, if so.

    ``refused`` is a reason of `tokenization.REFUSALS`, or `MISSING`.
    """

    teacher: str
    refused: str | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class Pool:
    """All candidates of one prompt (policy first), their rewards and the tokens of each.

    ``given`` lists every action a teacher gave, in order, refused ones included. ``logprobs`` are
    the teachers' own, of those tokens; None for the policy's and where a teacher gave none.
    """

    sample_index: int
    actions: tuple[Action, ...]
    rewards: tuple[RewardBreakdown, ...]
    token_ids: tuple[tuple[int, ...], ...]
    given: tuple[Given, ...] = ()
    logprobs: tuple[tuple[float, ...] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """Everything of one generation: global, and the same on every rank.

    ``groups`` and ``pools`` (n,) in the order of the global batch; ``seconds`` of this rank.
    """

    groups: tuple[ActionGroup, ...]
    pools: tuple[Pool, ...]
    seconds: Mapping[str, float]


class Pooling:
    """Turns rows into a `Round`. ``gather`` joins the lists of all ranks, in rank order."""

    def __init__(
        self,
        samples: Sequence[Sample],
        scorer: Scorer,
        teachers: Sequence[Teacher],
        options: EKIPLOptions,
        encoder: ActionEncoder,
        *,
        group_size: int,
        max_new_tokens: int,
    ) -> None:
        self.samples, self.scorer, self.teachers = samples, scorer, teachers
        self.options, self.encoder = options, encoder
        self.group_size, self.max_new_tokens = group_size, max_new_tokens
        ids = [teacher.source.id for teacher in teachers]
        if POLICY in ids or len(set(ids)) < len(ids):
            raise ConfigError(f"Teacher ids must differ and none may be {POLICY!r}: {ids}.")

    def run(self, rows: Sequence[Row], *, rank: int, gather: Any, draw: int) -> Round:
        """Groups of the global batch whose local part is ``rows``.

        ``draw`` numbers the passes over the data: a teacher asked again gives fresh actions. An
        error on one rank is raised on all: its own there, a TeacherError naming the rank elsewhere.
        """
        tagged: list[tuple[int, Row]] = gather([(rank, row) for row in rows])
        size = self.group_size
        if len(tagged) % size:
            raise DataError(f"{len(tagged)} rows do not make up groups of {size}.")
        groups = [tagged[start : start + size] for start in range(0, len(tagged), size)]
        mine = [[row for _, row in group] for group in groups if group[0][0] == rank]
        seconds: dict[str, float] = {}
        error: Exception | None = None
        pools: list[Pool] = []
        try:
            pools = self._fill(mine, draw, seconds)
        except Exception as caught:
            error = caught
        report = (rank, None if error is None else f"{type(error).__name__}: {error}")
        failures = [(r, message) for r, message in gather([report]) if message]
        if error is not None:
            raise error
        if failures:
            raise TeacherError(f"Rank {failures[0][0]} failed: {failures[0][1]}")
        everything = tuple(gather(pools))
        return Round(tuple(self._group(pool) for pool in everything), everything, seconds)

    def score(self, rows: Sequence[Row]) -> list[RewardBreakdown]:
        """Rewards of the policy alone: evaluation."""
        return [self.scorer(self.samples[row.sample_index], row.action) for row in rows]

    def _group(self, pool: Pool) -> ActionGroup:
        return build_group(
            self.samples[pool.sample_index],
            pool.actions,
            pool.rewards,
            rule=self.options.selection,
            group_size=self.group_size,
            baseline=self.options.baseline,
            scale_rewards=self.options.scale_rewards,
            **self.options.params,
        )

    def _fill(
        self, groups: Sequence[Sequence[Row]], draw: int, seconds: dict[str, float]
    ) -> list[Pool]:
        """Ask every teacher about all prompts at once, then score what can stand in a group."""
        indices = [self._sample_of(group) for group in groups]
        samples = [self.samples[index] for index in indices]
        began = time.perf_counter()
        with preserved():
            answers = [self._ask(teacher, samples, draw) for teacher in self.teachers]
            asked = time.perf_counter()
            pools = [
                self._pool(index, group, [proposed[i] for proposed in answers])
                for i, (index, group) in enumerate(zip(indices, groups, strict=True))
            ]
        seconds["teachers"] = asked - began
        seconds["rewards"] = time.perf_counter() - asked
        return pools

    def _sample_of(self, group: Sequence[Row]) -> int:
        indices = {row.sample_index for row in group}
        if len(indices) != 1:
            raise DataError(f"One group holds rows of the samples {sorted(indices)}.")
        return indices.pop()

    def _ask(self, teacher: Teacher, samples: Sequence[Sample], draw: int) -> list[list[Action]]:
        if not samples:
            return []
        params = GenerationParams(max_new_tokens=self.max_new_tokens, seed=draw)
        actions = teacher.source.propose(samples, teacher.actions, params)
        for sample, given in zip(samples, actions, strict=True):
            if len(given) > teacher.actions:
                raise TeacherError(
                    f"Teacher {teacher.source.id!r} gave {len(given)} actions for sample "
                    f"{sample.id}, not {teacher.actions}."
                )
        return actions

    def _pool(self, index: int, rows: Sequence[Row], answers: Sequence[Sequence[Action]]) -> Pool:
        actions = [row.action for row in rows]
        token_ids = [row.action.token_ids or () for row in rows]
        logprobs: list[tuple[float, ...] | None] = [None] * len(rows)
        given: list[Given] = []
        for teacher, proposed in zip(self.teachers, answers, strict=True):
            missing = teacher.actions - len(proposed)
            given += [Given(teacher.source.id, MISSING, Usage())] * missing
            for action in proposed:
                encoding = self.encoder.encode(action)
                usage = action.usage or Usage(completion_tokens=encoding.length)
                given.append(Given(teacher.source.id, encoding.refused, usage))
                if encoding.refused is None:
                    actions.append(action)
                    token_ids.append(encoding.token_ids)
                    logprobs.append(encoding.logprobs)
        rewards = tuple(self.scorer(self.samples[index], action) for action in actions)
        return Pool(index, tuple(actions), rewards, tuple(token_ids), tuple(given), tuple(logprobs))
