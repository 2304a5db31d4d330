"""From the policy's completions of a step to scored, selected groups; on one process or many.

Groups are G consecutive rows of the global batch and may straddle ranks. The rank that holds the
first row of a group owns it: it asks the teachers, scores every candidate once, and hands the pool
(or the error that stopped it) to all ranks, which then build identical groups.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ekipl_lab.errors import ConfigError, DataError, TeacherError
from ekipl_lab.groups.asking import (
    Answer,
    Asking,
    Given,
    Question,
    answers_of,
    behind_gateways,
    can_be_early,
    question,
)
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.options import EKIPLOptions, StepContext, Teacher
from ekipl_lab.groups.pool import NO_REPLY, GenerationBatch, Pool, Row, TeacherReply
from ekipl_lab.random_state import preserved
from ekipl_lab.teachers.encoding import ActionEncoder
from ekipl_lab.teachers.gateway.spending import Spending, of_all_ranks
from ekipl_lab.types import KEPT, POLICY, ActionGroup, RewardBreakdown, Sample, Scorer, Usage


class GroupCollector:
    """Turns rows into a `GenerationBatch`. ``gather`` joins the lists of all ranks, in rank order.

    ``seed`` is the run's. ``after_asking`` is called when the teachers were asked about all prompts
    of a generation, and before what they cost is counted.
    """

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
        seed: int = 0,
    ) -> None:
        self.samples, self.scorer, self.teachers = samples, scorer, teachers
        self.options, self.encoder, self.gates = options, encoder, options.gates(seed)
        self.group_size, self.max_new_tokens = group_size, max_new_tokens
        self.spending = Spending(teacher.source for teacher in teachers)
        self.after_asking: Callable[[], None] | None = None
        self._asking: Asking | None = None
        self._early: dict[str, tuple[Question, Given]] = {}
        ids = [teacher.source.id for teacher in teachers]
        if {KEPT, POLICY} & set(ids) or len(set(ids)) < len(ids):
            raise ConfigError(
                f"Teacher ids must differ and none may be {POLICY!r} or {KEPT!r}, which are names "
                f"of ours in metrics: {ids}."
            )

    @contextmanager
    def early(
        self, indices: Sequence[int], *, rank: int, gather: Any, context: StepContext
    ) -> Iterator[None]:
        """Ask, from now on, the teachers that can be before the policy's result is there.

        ``indices``: the sample of each row of this rank. `run` within takes their answers.
        """
        if not any(behind_gateways(teacher) for teacher in self.teachers):
            yield
            return
        tagged: list[tuple[int, int]] = gather([(rank, index) for index in indices])
        firsts = tagged[:: self.group_size]
        samples = [self.samples[index] for owner, index in firsts if owner == rank]
        nothing: list[list[RewardBreakdown]] = [[] for _ in samples]
        with Asking(self.teachers) as self._asking:
            try:
                for teacher in self.teachers:
                    if can_be_early(teacher, samples, self.gates):
                        put = self._put(self._asking, teacher, samples, nothing, context)
                        self._early[teacher.source.id] = put
                yield
            finally:
                self._asking, self._early = None, {}

    def run(
        self, rows: Sequence[Row], *, rank: int, gather: Any, context: StepContext
    ) -> GenerationBatch:
        """Groups of the global batch whose local part is ``rows``.

        An error on one rank is raised on all: its own there, a TeacherError naming the rank
        elsewhere.
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
            pools = self._fill(mine, context, seconds)
            if self.after_asking is not None:
                self.after_asking()
        except Exception as caught:
            error = caught
        report = (rank, None if error is None else f"{type(error).__name__}: {error}")
        failures = [(r, message) for r, message in gather([report]) if message]
        if error is not None:
            raise error
        if failures:
            raise TeacherError(f"Rank {failures[0][0]} failed: {failures[0][1]}")
        everything = tuple(gather(pools))
        spent = of_all_ranks(gather([self.spending.since()])) if self.spending else {}
        params = self.options.params_at(context.step)
        groups_of_all = tuple(self._group(pool, params) for pool in everything)
        return GenerationBatch(groups_of_all, everything, seconds, spent)

    def score(self, rows: Sequence[Row]) -> list[RewardBreakdown]:
        """Rewards of the policy's own actions."""
        return [self.scorer(self.samples[row.sample_index], row.action) for row in rows]

    def _group(self, pool: Pool, params: Mapping[str, Any]) -> ActionGroup:
        return build_group(
            self.samples[pool.sample_index],
            pool.actions,
            pool.rewards,
            rule=self.options.selection,
            group_size=self.group_size,
            baseline=self.options.baseline,
            scale_rewards=self.options.scale_rewards,
            signs=self.options.signs,
            **params,
        )

    def _fill(
        self, groups: Sequence[Sequence[Row]], context: StepContext, seconds: dict[str, float]
    ) -> list[Pool]:
        """Score the policy's actions, ask every teacher about all prompts that its gate lets
        through at once, then score what may enter a group."""
        indices = [self._sample_of(group) for group in groups]
        began = time.perf_counter()
        with preserved():
            own = [self.score(group) for group in groups]
            scored = time.perf_counter()
            answers = self._ask(indices, own, context)
            asked = time.perf_counter()
            pools = [
                self._pool(index, group, own[i], [proposed[i] for proposed in answers])
                for i, (index, group) in enumerate(zip(indices, groups, strict=True))
            ]
        seconds["teachers"] = asked - scored
        seconds["rewards"] = scored - began + time.perf_counter() - asked
        return pools

    def _ask(
        self,
        indices: Sequence[int],
        own: Sequence[Sequence[RewardBreakdown]],
        context: StepContext,
    ) -> list[list[Answer]]:
        """What every teacher gives to each prompt, or why it was not asked."""
        samples = [self.samples[index] for index in indices]
        pending = []
        with self._asking or Asking(self.teachers) as asking:
            for teacher in self.teachers:
                if (found := self._early.get(teacher.source.id)) is None:
                    found = self._put(asking, teacher, samples, own, context)
                pending.append(found)
            return [answers_of(asked, given()) for asked, given in pending]

    def _put(
        self,
        asking: Asking,
        teacher: Teacher,
        samples: Sequence[Sample],
        own: Sequence[Sequence[RewardBreakdown]],
        context: StepContext,
    ) -> tuple[Question, Given]:
        asked = question(teacher, samples, own, self.gates, context, self.max_new_tokens)
        return asked, asking.put(asked)

    def _sample_of(self, group: Sequence[Row]) -> int:
        indices = {row.sample_index for row in group}
        if len(indices) != 1:
            raise DataError(f"One group holds rows of the samples {sorted(indices)}.")
        return indices.pop()

    def _pool(
        self,
        index: int,
        rows: Sequence[Row],
        own: Sequence[RewardBreakdown],
        answers: Sequence[Answer],
    ) -> Pool:
        actions = [row.action for row in rows]
        token_ids = [row.action.token_ids or () for row in rows]
        logprobs: list[tuple[float, ...] | None] = [None] * len(rows)
        replies: list[TeacherReply] = []
        not_asked: list[tuple[str, str]] = []
        for teacher, answer in zip(self.teachers, answers, strict=True):
            name = teacher.source.id
            if isinstance(answer, str):
                not_asked.append((name, answer))
                continue
            for action in answer:
                if action is None:
                    replies.append(TeacherReply(name, NO_REPLY, Usage()))
                    continue
                encoding = self.encoder.encode(action)
                usage = action.usage or Usage(completion_tokens=encoding.length)
                replies.append(TeacherReply(name, encoding.refused, usage))
                if encoding.refused is None:
                    actions.append(action)
                    token_ids.append(encoding.token_ids)
                    logprobs.append(encoding.logprobs)
        sample, own_count = self.samples[index], len(rows)
        theirs = [  # with the policy's tokens: a length is counted in those, whoever wrote
            self.scorer(sample, replace(action, token_ids=tokens))
            for action, tokens in zip(actions[own_count:], token_ids[own_count:], strict=True)
        ]
        return Pool(
            index, tuple(actions), (*own, *theirs), tuple(token_ids), tuple(replies),
            tuple(logprobs), tuple(not_asked),
        )  # fmt: skip
