"""Why a candidate was kept or dropped, and why a group taught nothing, in words.

Pure functions of an ActionGroup. Each selection rule explains its own decisions
(`ekipl_lab.groups.selection`); what holds for all of them is said here.
"""

from __future__ import annotations

from ekipl_lab.groups.candidates import candidates_of
from ekipl_lab.groups.doctor.causes import cause_of, zero_spread_cause
from ekipl_lab.groups.selection import SELECTION_RULES, format_reward
from ekipl_lab.types import ActionGroup


def pool_order(group: ActionGroup) -> list[int]:
    """Candidate indices, best first: by total reward, policy before teacher, lower index first.

    What could not be scored comes last.
    """
    return candidates_of(group).ranked()


def explain_candidate(group: ActionGroup, index: int) -> str:
    """One sentence: the candidate's place in the pool and what the rule made of it."""
    place = pool_order(group).index(index) + 1
    decision = "Kept" if index in group.kept else "Dropped"
    reason = f"; {words}" if (words := _reason(group, index)) else ""
    return f"{decision}: rank {place} of {len(group.candidates)} by reward{reason}."


def explain_spread(group: ActionGroup) -> str:
    """What the kept rewards can teach; names the cause where they are all equal.

    Whether a group taught something, and whether selection starved it, is the group doctor's word.
    """
    cause = zero_spread_cause(group)
    totals = [group.rewards[i].total for i in group.kept]
    scored = [total for total in totals if total is not None]
    if cause is None:
        unscored = "" if len(scored) == len(totals) else " Some kept actions could not be scored."
        lowest, highest = format_reward(min(scored)), format_reward(max(scored))
        return f"Kept rewards from {lowest} to {highest}.{unscored}"
    if cause == "unscorable":
        return "Fewer than two kept actions could be scored, so this group teaches nothing."
    successes = [group.rewards[i].success for i in group.kept]
    shared = "equal in reward"
    if successes.count(successes[0]) == len(successes) and successes[0] is not None:
        shared = "right" if successes[0] else "wrong"
    every = f"Every kept action is {shared}"
    if cause_of(group) is None:
        return f"{every}; it still teaches, since the baseline is not the mean of these rewards."
    starved = "The dropped ones differed: selection starved this group."
    return f"{every}, so this group teaches nothing.{' ' + starved if cause == 'starved' else ''}"


def _reason(group: ActionGroup, index: int) -> str:
    if group.rewards[index].total is None:
        return "it could not be scored, so it goes last"
    if group.rule in SELECTION_RULES:
        return SELECTION_RULES[group.rule].explain(group, index)
    return f"decided by the rule {group.rule!r}" if group.rule else ""
