"""Imitation beside reinforcement, over one and the same batch: which rows, and how much.

The rows that are imitated hold a teacher's action. Their loss is L_SFT, the mean over them of
-log pi, averaged over rows or tokens as TRL's loss type averages its own.

    chord_mu     L = (1 - mu) L_GRPO + mu L_SFT                     CHORD, arXiv 2508.11408
    chord_phi    the same with sg(pi (1 - pi)) on each imitated token
    failed_groups  a prompt that the whole group failed: mu L_SFT of its teacher rows instead of
                 L_GRPO; all others L_GRPO       HPT's switch, arXiv 2509.04419 (ReLIFT, 2506.07527,
                 takes such prompts to optimiser steps of their own)

Imitated rows take no part in L_GRPO unless ``reinforce`` says so. The KL term stays whole.
In TRL's loss a row of ratio 1 and advantage c has the gradient of c times -log pi: an imitated row
is one with c = mu x its `Share.imitate` (`token_weights`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ekipl_lab.groups.options import SFTMixing
from ekipl_lab.groups.pool import GenerationBatch, Pool
from ekipl_lab.types import POLICY, ActionGroup

#: Loss types whose policy term is a mean over tokens; the others take one over rows.
BY_TOKEN = ("dapo", "bnpo")


@dataclass(frozen=True, slots=True)
class Share:
    """One kept row: its advantage in L_GRPO, and its weight in L_SFT (0: not imitated)."""

    advantage: float
    imitate: float = 0.0


def shares(batch: GenerationBatch, mixing: SFTMixing, loss_type: str) -> list[dict[int, Share]]:
    """For every group, what each kept candidate gives to the two losses.

    The weights make TRL's mean over all rows (or tokens) of the generation a mean over the
    imitated ones: of all groups for the chords, of its own group for ``failed_groups``.
    """
    chosen = [_imitated(group, mixing) for group in batch.groups]
    by_token = loss_type in BY_TOKEN
    everything = [_size(pool, group.kept, by_token) for group, pool in batch.pairs]
    imitated = [_size(p, rows, by_token) for p, rows in zip(batch.pools, chosen, strict=True)]
    if mixing.chord:
        everything = [sum(everything)] * len(chosen)
        imitated = [sum(imitated)] * len(chosen)
    scales = [a / b if b else 0.0 for a, b in zip(everything, imitated, strict=True)]
    return [
        _group_shares(group, rows, scale, mixing)
        for group, rows, scale in zip(batch.groups, chosen, scales, strict=True)
    ]


def failed(group: ActionGroup, min_successes: int) -> bool:
    """Whether fewer than that many of the policy's own actions succeeded."""
    pairs = zip(group.candidates, group.rewards, strict=True)
    return sum(a.source == POLICY and r.success is True for a, r in pairs) < min_successes


def _imitated(group: ActionGroup, mixing: SFTMixing) -> list[int]:
    if not mixing.on or (
        mixing.type == "failed_groups" and not failed(group, mixing.min_successes)
    ):
        return []
    return [
        i
        for i in group.kept
        if group.candidates[i].source != POLICY
        and (group.rewards[i].success is True or not mixing.success_only)
    ]


def _group_shares(
    group: ActionGroup, imitated: Sequence[int], scale: float, mixing: SFTMixing
) -> dict[int, Share]:
    advantages: Mapping[int, float] = dict(zip(group.kept, group.advantages, strict=True))
    if mixing.type == "failed_groups" and imitated and not mixing.reinforce:
        advantages = dict.fromkeys(group.kept, 0.0)  # this prompt is imitated instead
    return {
        i: Share(0.0 if i in imitated and not mixing.reinforce else advantages[i],
                 scale if i in imitated else 0.0)
        for i in group.kept
    }  # fmt: skip


def _size(pool: Pool, rows: Sequence[int], by_token: bool) -> int:
    return sum(len(pool.token_ids[i]) for i in rows) if by_token else len(rows)
