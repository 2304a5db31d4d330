"""Why a candidate was kept or dropped, and why a group taught nothing, in words.

Pure functions of an ActionGroup. They explain the decisions that
``ekipl_lab.groups.selection`` made and make none themselves; the rules are its SELECTION_RULES.
"""

from __future__ import annotations

from ekipl_lab.groups.doctor.causes import cause_of, zero_spread_cause
from ekipl_lab.types import POLICY, ActionGroup


def pool_order(group: ActionGroup) -> list[int]:
    """Candidate indices, best first: by total reward, policy before teacher, lower index first.

    What could not be scored comes last.
    """

    def key(index: int) -> tuple[bool, float, bool, int]:
        total = group.rewards[index].total
        return (
            total is None,
            -(total or 0.0),
            group.candidates[index].source != POLICY,
            index,
        )

    return sorted(range(len(group.candidates)), key=key)


def explain_candidate(group: ActionGroup, index: int) -> str:
    """One sentence: the candidate's place in the pool and what the rule made of it."""
    place = pool_order(group).index(index) + 1
    where = f"rank {place} of {len(group.candidates)} by reward"
    reason = _reason(group, index)
    return f"{'Kept' if index in group.kept else 'Dropped'}: {where}{reason}."


def explain_spread(group: ActionGroup) -> str:
    """What the kept rewards can teach; names the cause where they are all equal.

    Whether a group taught something, and whether selection starved it, is the group doctor's word.
    """
    cause = zero_spread_cause(group)
    totals = [group.rewards[i].total for i in group.kept]
    scored = [total for total in totals if total is not None]
    if cause is None:
        unscored = "" if len(scored) == len(totals) else " Some kept actions could not be scored."
        return f"Kept rewards from {_number(min(scored))} to {_number(max(scored))}.{unscored}"
    if cause == "unscorable":
        return "Fewer than two kept actions could be scored, so this group teaches nothing."
    successes = [group.rewards[i].success for i in group.kept]
    alike = "equal in reward"
    if successes.count(successes[0]) == len(successes) and successes[0] is not None:
        alike = "right" if successes[0] else "wrong"
    every = f"Every kept action is {alike}"
    if cause_of(group) is None:
        return f"{every}; it still teaches, since the baseline is not the mean of these rewards."
    starved = "The dropped ones differed: selection starved this group."
    return f"{every}, so this group teaches nothing.{' ' + starved if cause == 'starved' else ''}"


def _reason(group: ActionGroup, index: int) -> str:
    kept, is_policy = index in group.kept, group.candidates[index].source == POLICY
    if group.rewards[index].total is None:
        return "; it could not be scored, so it goes last"
    if group.rule == "top_g":
        return _top_g(group, index, kept)
    if group.rule == "max_variance":
        return _max_variance(group, index, kept)
    if group.rule in ("quota", "on_failure"):
        return _quota(group, kept, is_policy)
    if group.rule == "policy_only":
        return "; this rule keeps the policy's own actions and no others"
    return f"; decided by the rule {group.rule!r}" if group.rule else ""


def _top_g(group: ActionGroup, index: int, kept: bool) -> str:
    size = len(group.kept)
    best = set(pool_order(group)[:size])
    if kept:
        if index in best:
            return f"; the {size} best stay"
        return f"; below the {size} best, but the rule keeps some failed policy actions"
    if index in best:
        return f"; among the {size} best, but it made room for a failed policy action"
    total = group.rewards[index].total
    lowest = min((group.rewards[i].total or 0.0 for i in group.kept), default=0.0)
    if total == lowest:
        return (
            f"; it ties with the last kept one at {_number(lowest)}, where policy goes "
            "before teacher and earlier before later"
        )
    return f"; {_number(total)} is below the cut at {_number(lowest)}"


def _max_variance(group: ActionGroup, index: int, kept: bool) -> str:
    if not kept:
        return "; the rule keeps both ends of the ranking, and they were full without it"
    totals = [group.rewards[i].total or 0.0 for i in group.kept]
    high = (group.rewards[index].total or 0.0) >= sum(totals) / len(totals)
    return f"; at the {'high' if high else 'low'} end, and the ends spread the rewards most"


def _quota(group: ActionGroup, kept: bool, is_policy: bool) -> str:
    teachers = sum(group.candidates[i].source != POLICY for i in group.kept)
    if teachers == 0:
        able = any(
            action.source != POLICY and reward.total is not None
            for action, reward in zip(group.candidates, group.rewards, strict=True)
        )
        if able and group.rule == "on_failure":
            return "; enough policy actions succeeded, so the policy's own group stays"
        return "; no teacher action could enter, so the policy's own group stays"
    rows = "1 teacher action" if teachers == 1 else f"{teachers} teacher actions"
    failed = "too few policy actions succeeded, so " if group.rule == "on_failure" else ""
    if is_policy:
        verb = "stayed beside" if kept else "made room for"
        return f"; {failed}it {verb} {rows} by its place in sampling order"
    entered = "entered" if kept else "entered, and this was not among them"
    return f"; {failed}{rows} {entered}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")
