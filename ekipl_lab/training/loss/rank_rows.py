"""The rows of one rank in a generation: which candidate trains in each, in the form of TRL's batch.

A generation's groups (`collect.GenerationBatch`) are global; a rank holds B consecutive rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ekipl_lab.groups.build import placement
from ekipl_lab.groups.options import SFTMixing
from ekipl_lab.groups.pool import GenerationBatch, Pool, Row
from ekipl_lab.training.loss.mixing import shares
from ekipl_lab.types import POLICY, Action, ActionGroup, RewardBreakdown


class RankRows:
    """Group, pool and placed candidate of each of the ``count`` rows of a rank."""

    def __init__(
        self, batch: GenerationBatch, teachers: Sequence[str], *, rank: int, count: int
    ) -> None:
        self.batch, self._teachers = batch, list(teachers)
        everything: list[tuple[ActionGroup, Pool, int]] = [
            (group, pool, chosen) for group, pool in batch.pairs for chosen in placement(group)
        ]
        self.rows = everything[rank * count : (rank + 1) * count]

    @property
    def totals(self) -> list[float]:
        """(B,) rewards, NaN where unscorable."""
        return [total_or_nan(group.rewards[chosen]) for group, _, chosen in self.rows]

    @property
    def sources(self) -> list[int]:
        """(B,) 0 for the policy, i + 1 for the i-th teacher."""
        names = [POLICY, *self._teachers]
        return [names.index(group.candidates[chosen].source) for group, _, chosen in self.rows]

    @property
    def advantages(self) -> list[float]:
        """(B,) those of the groups."""
        return [
            dict(zip(group.kept, group.advantages, strict=True))[chosen]
            for group, _, chosen in self.rows
        ]

    def place(
        self, token_ids: list[list[int]], completions: list[Any], logprobs: list[Any] | None
    ) -> None:
        """Put each kept teacher action in its row, in place.

        Its log-probabilities under the policy's sampler are unknown: TRL's ratio is 1 there.
        """
        for row, (group, pool, chosen) in enumerate(self.rows):
            action: Action = group.candidates[chosen]
            if action.source != POLICY:
                token_ids[row] = list(pool.token_ids[chosen])
                completions[row] = [{"role": "assistant", "content": action.completion}]
                if logprobs is not None:
                    logprobs[row] = [None] * len(token_ids[row])

    def shares(self, mixing: SFTMixing, loss_type: str) -> tuple[list[float], list[float]]:
        """(B,) advantages in L_GRPO and (B,) weights in L_SFT (`mixing`)."""
        given = shares(self.batch, mixing, loss_type)
        by_group = {id(g): share for g, share in zip(self.batch.groups, given, strict=True)}
        mine = [by_group[id(group)][chosen] for group, _, chosen in self.rows]
        return [row.advantage for row in mine], [row.imitate for row in mine]

    def teacher_logps(self, completion_ids: torch.Tensor) -> torch.Tensor:
        """The teachers' own log-probabilities (B, T) of the rows they hold, 0 elsewhere."""
        logps = torch.zeros(completion_ids.shape, device=completion_ids.device)
        for row, (_, pool, chosen) in enumerate(self.rows):
            known = pool.logprobs[chosen]
            if known is not None:
                logps[row, : len(known)] = torch.tensor(known, device=logps.device)
        return logps


def policy_rows(
    sample_indices: Sequence[int],
    texts: Sequence[str],
    token_ids: Sequence[Sequence[int]],
    ends: set[int],
    model_id: str,
    tokenizer_id: str | None,
) -> list[Row]:
    """The policy's completions (B,) as actions; one that has no token of ``ends`` was cut off."""
    return [
        Row(
            index,
            Action(
                completion=text,
                source=POLICY,
                model_id=model_id,
                token_ids=tuple(ids),
                tokenizer_id=tokenizer_id,
                finish_reason="stop" if ids[-1] in ends else "length",
            ),
        )
        for index, text, ids in zip(sample_indices, texts, token_ids, strict=True)
    ]


def total_or_nan(reward: RewardBreakdown) -> float:
    """The total; NaN, TRL's word for it, where the action could not be scored."""
    return math.nan if reward.total is None else reward.total
