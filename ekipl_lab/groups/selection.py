"""Which of a pool's N actions make up the group of G that is trained on.

A rule is a `SelectionRule` of two pure functions. ``select(candidates, **params)`` gives the G kept
indices in any order, from `Candidates`; its keyword-only parameters are the rule's settings
(``ekipl.params``). ``explain(group, index)`` says why a candidate of a finished group was kept or
dropped, as the end of a sentence. Ties: policy before teacher, then the lower index.

Only success and order matter to `quota` and `on_failure`; policy rows are chosen there without
looking at rewards (LUFFY, arXiv 2504.14945). To add a rule: docs/extend/selection_rule.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.groups.candidates import Candidates, candidates_of
from ekipl_lab.groups.registry import FromZero, find_entry
from ekipl_lab.types import POLICY, ActionGroup

#: How `quota` and `on_failure` choose among more teacher actions than they may keep.
Choice = Literal["best", "first"]
CHOICES = get_args(Choice)


@dataclass(frozen=True, slots=True)
class SelectionRule:
    """``select`` and ``explain`` (see the module); ``keeps_teachers``: whether it ever does."""

    select: Callable[..., list[int]]
    explain: Callable[[ActionGroup, int], str]
    keeps_teachers: bool = True

    def __call__(
        self,
        rewards: ArrayLike,
        is_policy: ArrayLike,
        success: ArrayLike,
        group_size: int,
        **params: Any,
    ) -> list[int]:
        """The G kept indices in pool order; the arrays (N,) are those of `Candidates`."""
        candidates = Candidates.of(rewards, is_policy, success, group_size)
        return sorted(self.select(candidates, **params))


def top_g(candidates: Candidates, *, keep_failures: FromZero = 0) -> list[int]:
    """The G highest rewards (Vision-EKIPL, arXiv 2506.06856).

    With ``keep_failures=n`` at least n failed policy actions stay, if there are that many: the
    best-ranked failures outside take the places of the worst-ranked others inside.
    """
    size = candidates.group_size
    _check_count("keep_failures", keep_failures, size)
    order = candidates.ranked()
    kept, dropped = order[:size], order[size:]
    is_failure = candidates.is_policy & ~candidates.success & candidates.scorable
    failed = set(np.flatnonzero(is_failure).tolist())
    missing = keep_failures - sum(i in failed for i in kept)
    if missing > 0:
        incoming = [i for i in dropped if i in failed][:missing]
        outgoing = [i for i in reversed(kept) if i not in failed][: len(incoming)]
        kept = [i for i in kept if i not in outgoing] + incoming
    return kept


def explain_top_g(group: ActionGroup, index: int) -> str:
    """Above or below the cut, or moved by a failure that had to stay."""
    size, totals = len(group.kept), [reward.total for reward in group.rewards]
    among_best = index in candidates_of(group).ranked()[:size]
    if index in group.kept:
        if among_best:
            return f"the {size} best stay"
        return f"below the {size} best, but the rule keeps some failed policy actions"
    if among_best:
        return f"among the {size} best, but it made room for a failed policy action"
    lowest = min(totals[i] or 0.0 for i in group.kept)
    if totals[index] == lowest:
        return (
            f"it ties with the last kept one at {format_reward(lowest)}, where policy goes "
            "before teacher and earlier before later"
        )
    return f"{format_reward(totals[index])} is below the cut at {format_reward(lowest)}"


def max_variance(candidates: Candidates) -> list[int]:
    """The k best and G-k worst, for the k whose kept rewards vary most (smallest k on a tie).

    Variances are compared exactly, so that a tie is a tie whatever the rounding.
    """
    size = candidates.group_size
    count = int(candidates.scorable.sum())
    best = candidates.ranked()
    if count <= size:
        return best[:size]
    worst = candidates.ranked(worst_first=True)[:count]

    def split(k: int) -> list[int]:
        top = best[:k]
        return top + [i for i in worst if i not in top][: size - k]

    # max() keeps the first of equals, so the smallest k wins a tie.
    return max(map(split, range(size + 1)), key=_spread_of(candidates.rewards))


def explain_max_variance(group: ActionGroup, index: int) -> str:
    """Which end of the ranking it stands at."""
    if index not in group.kept:
        return "the rule keeps both ends of the ranking, and they were full without it"
    totals = [group.rewards[i].total or 0.0 for i in group.kept]
    high = (group.rewards[index].total or 0.0) >= sum(totals) / len(totals)
    return f"at the {'high' if high else 'low'} end, and the ends spread the rewards most"


def quota(
    candidates: Candidates, *, teacher_rows: FromZero = 1, choose: Choice = "best"
) -> list[int]:
    """``teacher_rows`` teacher actions (best or first), the rest policy in sampling order.

    Fewer teacher actions than asked for leave their places to the policy; an unscorable one never
    takes a place.
    """
    size = candidates.group_size
    _check_count("teacher_rows", teacher_rows, size)
    if choose not in CHOICES:
        raise unknown_name("choice of teacher actions", choose, CHOICES)
    order = candidates.ranked() if choose == "best" else range(len(candidates.rewards))
    able = ~candidates.is_policy & candidates.scorable
    teachers = [i for i in order if able[i]][:teacher_rows]
    return candidates.policy_rows(size - len(teachers)) + teachers


def explain_quota(group: ActionGroup, index: int) -> str:
    """How many teacher actions entered, and which policy actions made room."""
    teachers = sum(group.candidates[i].source != POLICY for i in group.kept)
    if teachers == 0:
        return "no teacher action could enter, so the policy's own group stays"
    rows = "1 teacher action" if teachers == 1 else f"{teachers} teacher actions"
    kept = index in group.kept
    if group.candidates[index].source == POLICY:
        verb = "stayed beside" if kept else "made room for"
        return f"it {verb} {rows} by its place in sampling order"
    return f"{rows} {'entered' if kept else 'entered, and this was not among them'}"


def on_failure(
    candidates: Candidates,
    *,
    min_successes: FromZero = 1,
    teacher_rows: FromZero = 1,
    choose: Choice = "best",
) -> list[int]:
    """`quota` where fewer than ``min_successes`` policy actions succeeded; else `policy_only`."""
    _check_count("min_successes", min_successes, candidates.group_size)
    if int((candidates.success & candidates.is_policy).sum()) >= min_successes:
        return policy_only(candidates)
    return quota(candidates, teacher_rows=teacher_rows, choose=choose)


def explain_on_failure(group: ActionGroup, index: int) -> str:
    """As `explain_quota`, and whether the policy had failed."""
    if any(group.candidates[i].source != POLICY for i in group.kept):
        return f"too few policy actions succeeded, so {explain_quota(group, index)}"
    pairs = zip(group.candidates, group.rewards, strict=True)
    if any(action.source != POLICY and reward.total is not None for action, reward in pairs):
        return "enough policy actions succeeded, so the policy's own group stays"
    return explain_quota(group, index)


def policy_only(candidates: Candidates) -> list[int]:
    """The policy's own G actions: GRPO."""
    return candidates.policy_rows(candidates.group_size)


def explain_policy_only(group: ActionGroup, index: int) -> str:
    """The same for every candidate."""
    return "this rule keeps the policy's own actions and no others"


SELECTION_RULES: dict[str, SelectionRule] = {
    "top_g": SelectionRule(top_g, explain_top_g),
    "max_variance": SelectionRule(max_variance, explain_max_variance),
    "quota": SelectionRule(quota, explain_quota),
    "on_failure": SelectionRule(on_failure, explain_on_failure),
    "policy_only": SelectionRule(policy_only, explain_policy_only, keeps_teachers=False),
}


def get_rule(name: str, params: Mapping[str, Any] | None = None) -> SelectionRule:
    """The rule of that name; ConfigError for an unknown name or a parameter it does not take."""
    return find_entry("selection rule", SELECTION_RULES, name, lambda r: r.select, params or {})


def format_reward(value: float | None) -> str:
    """A reward with at most two decimals."""
    return "none" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def _check_count(name: str, value: int, group_size: int) -> None:
    if not 0 <= value <= group_size:
        raise ConfigError(
            f"{name} is {value}; it must lie between 0 and the group size {group_size}."
        )


def _spread_of(rewards_N: NDArray[np.float64]) -> Callable[[Iterable[int]], Fraction]:
    """G^2 times the population variance of the chosen rewards, without rounding."""
    exact = [Fraction(0) if np.isnan(r) else Fraction(float(r)) for r in rewards_N]

    def spread(chosen: Iterable[int]) -> Fraction:
        values = [exact[i] for i in chosen]
        squares = sum((v * v for v in values), Fraction(0))
        return len(values) * squares - sum(values, Fraction(0)) ** 2

    return spread
