"""Why the kept rewards of a group are all equal: the one home of these causes.

The doctor's words, its metrics ``doctor/<cause>`` and the trainer's ``groups/zero_<cause>`` all
name causes by `zero_spread_cause`. A group without spread taught nothing only if its advantages
are 0 too (`cause_of`): against a baseline other than the kept mean it may still teach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from ekipl_lab.groups.candidates import reward_totals
from ekipl_lab.types import POLICY, Action, ActionGroup, RewardBreakdown

if TYPE_CHECKING:
    from ekipl_lab.records import RecordedGroup

#: What the doctor looks at: a group as it was built, or as it was recorded.
Group: TypeAlias = "ActionGroup | RecordedGroup"

#: Why kept rewards are all equal, in the order looked for.
CAUSES = {
    "unscorable": "fewer than two of the kept actions could be scored",
    "starved": "the candidates differed, but selection kept only actions of equal reward",
    "all_right": "the policy got every action right",
    "truncated": "the policy's actions were wrong, and most of them were cut off",
    "unparseable": "the policy's actions were wrong, and from most no answer could be read",
    "format_only": "the policy's actions earned their form and nothing else: every answer wrong",
    "all_wrong": "the policy got every action wrong",
    "equal": "the kept actions earned the same although some are right and some wrong",
}
#: Below this, an advantage is the rounding of a mean of equal rewards, not a signal.
NO_ADVANTAGE = 1e-2


def cause_of(group: Group) -> str | None:
    """Why a group taught nothing (a key of `CAUSES`); None where it taught something."""
    if any(abs(advantage) >= NO_ADVANTAGE for advantage in group.advantages):
        return None
    return zero_spread_cause(group)


def zero_spread_cause(group: Group) -> str | None:
    """Why all kept rewards are equal (a key of `CAUSES`); None where they differ."""
    totals = reward_totals(group.rewards)
    kept = [totals[i] for i in group.kept]
    if have_spread(kept):
        return None
    if sum(not math.isnan(total) for total in kept) < 2:
        return "unscorable"
    own = policy_rows(group)
    if have_spread([totals[i] for i in own]) or (
        set(group.kept) - set(own) and have_spread(totals)
    ):
        return "starved"
    return _own_cause([group.candidates[i] for i in own], [group.rewards[i] for i in own])


def have_spread(totals: Sequence[float]) -> bool:
    """Whether at least two scorable rewards differ; NaN, unscorable, teaches nothing."""
    return len({total for total in totals if not math.isnan(total)}) > 1


def policy_rows(group: Group) -> list[int]:
    """Indices of the policy's candidates."""
    return [i for i, action in enumerate(group.candidates) if action.source == POLICY]


def _own_cause(actions: Sequence[Action], rewards: Sequence[RewardBreakdown]) -> str:
    """The policy's own actions all earned the same; why? What was not judged says nothing."""
    judged = [i for i, reward in enumerate(rewards) if reward.success is not None]
    if judged:
        actions, rewards = [actions[i] for i in judged], [rewards[i] for i in judged]
    if all(reward.success for reward in rewards):
        return "all_right"
    if any(reward.success for reward in rewards):
        return "equal"
    half = len(actions) / 2
    if sum(action.finish_reason == "length" for action in actions) >= half:
        return "truncated"
    if sum(reward.extracted_answer is None for reward in rewards) >= half:
        return "unparseable"
    scored = [total for total in reward_totals(rewards) if not math.isnan(total)]
    return "format_only" if scored and min(scored) > 0 else "all_wrong"
