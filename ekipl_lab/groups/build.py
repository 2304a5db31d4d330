"""From scored candidates to an ActionGroup: the one path of trainer, notebook and app."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ekipl_lab.errors import DataError
from ekipl_lab.groups.advantages import compute_advantages
from ekipl_lab.groups.candidates import reward_totals
from ekipl_lab.groups.selection import get_rule
from ekipl_lab.groups.signs import SignWeights, weigh_signs
from ekipl_lab.types import POLICY, Action, ActionGroup, RewardBreakdown, Sample


def build_group(
    sample: Sample,
    actions: Sequence[Action],
    rewards: Sequence[RewardBreakdown],
    *,
    rule: str = "top_g",
    group_size: int,
    baseline: str = "kept",
    scale_rewards: str = "group",
    signs: SignWeights | None = None,
    **params: Any,
) -> ActionGroup:
    """Select G of N candidates and give each kept one its advantage.

    ``actions`` (N,) lists the G policy actions first, then the teachers'; ``signs`` weigh the
    advantages by their sign; ``params`` are the rule's own. Pure: the same candidates always give
    the same group.

    Raises:
        ConfigError: unknown rule, parameter, baseline or spread.
        DataError: the candidates are not G policy actions followed by teachers'.
    """
    chosen = get_rule(rule, params)
    is_policy = [action.source == POLICY for action in actions]
    _check_pool(sample, is_policy, len(rewards), group_size)
    totals = reward_totals(rewards)
    success = [breakdown.success is True for breakdown in rewards]
    kept = chosen(totals, is_policy, success, group_size, **params)
    advantages = compute_advantages(
        totals, kept, is_policy, baseline=baseline, scale_rewards=scale_rewards
    )
    if signs is not None:
        mine, right = [is_policy[i] for i in kept], [success[i] for i in kept]
        advantages = weigh_signs(advantages, mine, right, signs)
    return ActionGroup(
        sample=sample,
        candidates=tuple(actions),
        rewards=tuple(rewards),
        kept=tuple(kept),
        advantages=tuple(advantages),
        rule=rule,
    )


def placement(group: ActionGroup) -> list[int]:
    """Which candidate trains in each of the G rows of the group's policy actions.

    A kept policy action keeps its own row; kept teacher actions, in pool order, take the rows of
    dropped policy actions, in order. A group shares one prompt and its images, so rows are
    interchangeable.
    """
    kept = set(group.kept)
    teachers = iter([i for i in group.kept if group.candidates[i].source != POLICY])
    return [row if row in kept else next(teachers) for row in range(len(group.kept))]


def _check_pool(sample: Sample, is_policy: list[bool], num_rewards: int, group_size: int) -> None:
    if num_rewards != len(is_policy):
        raise DataError(
            f"Sample {sample.id!r} has {len(is_policy)} actions and {num_rewards} rewards; "
            "give one reward for every action."
        )
    expected = [True] * group_size + [False] * (len(is_policy) - group_size)
    if is_policy != expected:
        raise DataError(
            f"Sample {sample.id!r}: a group of size {group_size} needs exactly {group_size} policy "
            f"actions, listed before the teachers'; the pool has {sum(is_policy)}."
        )
