"""Rows of a generation sampled again from a teacher's beginning (`groups.prefix` says which).

The policy's first actions of those rows are paid for and thrown away; they are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.asking import question
from ekipl_lab.groups.options import StepContext, Teacher
from ekipl_lab.groups.pool import Row
from ekipl_lab.groups.prefix import prefix_length, rows_to_redo
from ekipl_lab.groups.schedules import scheduled
from ekipl_lab.random_state import preserved
from ekipl_lab.types import RewardBreakdown, Usage


class PrefixedRows:
    """Asks the teachers, in their order, for one right action a failed prompt, and goes on.

    ``trainer`` is the `EKIPLTrainer` whose rows they are.
    """

    def __init__(self, trainer: Any, teachers: Sequence[Teacher]) -> None:
        self._trainer, self._teachers = trainer, teachers

    def redo(
        self,
        prompts: list[Any],
        ids: list[list[int]],
        completions: list[Any],
        own: Sequence[Row],
        now: StepContext,
    ) -> list[list[int]] | None:
        """Replace rows of ``ids`` and ``completions`` in place; TRL's tool mask of all rows.

        The mask (per row, per token) is 0 on a teacher's tokens and 1 on the policy's; None where
        no row begins with a teacher's.
        """
        trainer = self._trainer
        options, size = trainer.options, trainer.num_generations
        share = scheduled(options.schedules, "prefix.share", now.step, options.prefix.share)
        if len(own) % size:
            raise ConfigError(
                f"ekipl.prefix needs whole groups on every process; {len(own)} rows do not make "
                f"up groups of {size}."
            )
        begun: dict[int, tuple[int, ...]] = {}
        for start in range(0, len(own), size) if share > 0 else ():
            group = own[start : start + size]
            rewards = trainer.collector.score(group)
            success = [reward.success is True for reward in rewards]
            rows = [start + row for row in rows_to_redo(success, options.prefix)]
            tokens = self._beginning(group[0].sample_index, rewards, share, now) if rows else ()
            begun |= {row: tokens for row in rows if tokens}
        if not begun:
            return None
        self._continue(prompts, ids, completions, begun)
        return [
            [0] * len(begun.get(row, ())) + [1] * (len(tokens) - len(begun.get(row, ())))
            for row, tokens in enumerate(ids)
        ]

    def _beginning(
        self, index: int, own: Sequence[RewardBreakdown], share: float, now: StepContext
    ) -> tuple[int, ...]:
        """The given part of the first right action that a teacher has; empty if none has one.

        Gates, schedules and the run's budget close a teacher as they do without a prefix.
        """
        collector, costs = self._trainer.collector, self._trainer.costs
        sample = collector.samples[index]
        for teacher in self._teachers:
            asked = question(
                teacher, [sample], [own], collector.gates, now, collector.max_new_tokens
            )
            if not asked.samples:
                continue
            with preserved():
                (actions,) = teacher.source.propose([sample], 1, asked.params)
                if not actions:  # a gateway that leaves out what a server did not give
                    continue
                action = actions[0]
                right = collector.scorer(sample, action).success is True
            encoding = collector.encoder.encode(action)
            usage = action.usage or Usage(completion_tokens=encoding.length)
            costs.teacher_actions += 1
            costs.teacher_tokens += usage.completion_tokens
            costs.teacher_usd += usage.cost
            costs.teacher_paid_usd += 0.0 if usage.cached else usage.cost
            if right and encoding.refused is None:
                return tuple(encoding.token_ids[: prefix_length(encoding.length, share)])
        return ()

    def _continue(
        self,
        prompts: list[Any],
        ids: list[list[int]],
        completions: list[Any],
        begun: dict[int, tuple[int, ...]],
    ) -> None:
        """Sample the rest of the begun rows with TRL's own generation."""
        trainer, rows = self._trainer, list(begun)
        most = trainer.max_completion_length
        prompt_ids, images, fields = trainer._tokenize_prompts([prompts[row] for row in rows])
        longer = [[*p, *begun[row]] for p, row in zip(prompt_ids, rows, strict=True)]
        for name, values in fields.items():
            if name.endswith("token_type_ids"):  # text follows the prompt
                fields[name] = [
                    [*own, *[0] * len(begun[row])] for own, row in zip(values, rows, strict=True)
                ]
        rest, _ = trainer._generate_single_turn(longer, images, fields, 1)
        dropped = sum(len(ids[row]) for row in rows)
        given = sum(len(begun[row]) for row in rows)
        for row, tokens in zip(rows, rest, strict=True):
            ids[row] = [*begun[row], *tokens][:most]
            text = trainer.processing_class.batch_decode([ids[row]], skip_special_tokens=True)[0]
            completions[row] = [{"role": "assistant", "content": text}]
        # `GroupCosts.add` will count the rows as they are now, the teacher's tokens too.
        trainer.costs.policy_completions += len(rows)
        trainer.costs.policy_tokens += dropped - given
        trainer.costs.trained_tokens -= given
