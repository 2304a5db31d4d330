"""Which of a pool's N actions make up the group of G that is trained on.

A rule is a pure function ``rule(rewards, is_policy, success, group_size, **params)``:

    rewards     (N,) float; NaN means "could not be scored": kept last
    is_policy   (N,) bool; the pool lists the G policy actions first
    success     (N,) bool; the accuracy component alone reached its threshold (never the total)
    group_size  G

and returns the G kept indices in pool order. Ties: policy before teacher, then the lower index.
Only success and order matter to `quota` and `on_failure`; policy rows are chosen there without
looking at rewards (LUFFY, arXiv 2504.14945).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ekipl_lab.errors import ConfigError, unknown_name

Rule = Callable[..., list[int]]

#: How `quota` and `on_failure` choose among more teacher actions than they may keep.
CHOICES = ("best", "first")


def top_g(
    rewards: ArrayLike,
    is_policy: ArrayLike,
    success: ArrayLike,
    group_size: int,
    *,
    keep_failures: int = 0,
) -> list[int]:
    """The G highest rewards (Vision-EKIPL, arXiv 2506.06856).

    With ``keep_failures=n`` at least n failed policy actions stay, if there are that many: the
    best-ranked failures outside take the places of the worst-ranked others inside.
    """
    rewards_N, is_policy_N, success_N = _checked(rewards, is_policy, success, group_size)
    _check_count("keep_failures", keep_failures, group_size)
    order = _ranked(rewards_N, is_policy_N)
    kept, dropped = order[:group_size], order[group_size:]
    failed = set(np.flatnonzero(is_policy_N & ~success_N & ~np.isnan(rewards_N)).tolist())
    missing = keep_failures - sum(i in failed for i in kept)
    if missing > 0:
        incoming = [i for i in dropped if i in failed][:missing]
        outgoing = [i for i in reversed(kept) if i not in failed][: len(incoming)]
        kept = [i for i in kept if i not in outgoing] + incoming
    return sorted(kept)


def max_variance(
    rewards: ArrayLike, is_policy: ArrayLike, success: ArrayLike, group_size: int
) -> list[int]:
    """The k best and G-k worst, for the k whose kept rewards vary most (smallest k on a tie).

    Variances are compared exactly, so that a tie is a tie whatever the rounding.
    """
    rewards_N, is_policy_N, _ = _checked(rewards, is_policy, success, group_size)
    best = _ranked(rewards_N, is_policy_N)
    scorable = [i for i in best if not np.isnan(rewards_N[i])]
    if len(scorable) <= group_size:
        return sorted(best[:group_size])
    worst = [i for i in _ranked(-rewards_N, is_policy_N) if not np.isnan(rewards_N[i])]

    def split(k: int) -> list[int]:
        top = scorable[:k]
        return top + [i for i in worst if i not in top][: group_size - k]

    # max() keeps the first of equals, so the smallest k wins a tie.
    splits: list[list[int]] = [split(k) for k in range(group_size + 1)]
    return sorted(max(splits, key=_spread_of(rewards_N)))


def quota(
    rewards: ArrayLike,
    is_policy: ArrayLike,
    success: ArrayLike,
    group_size: int,
    *,
    teacher_rows: int = 1,
    choose: str = "best",
) -> list[int]:
    """``teacher_rows`` teacher actions (best or first), the rest policy in sampling order.

    Fewer teacher actions than asked for leave their places to the policy; an unscorable one never
    takes a place.
    """
    rewards_N, is_policy_N, _ = _checked(rewards, is_policy, success, group_size)
    _check_count("teacher_rows", teacher_rows, group_size)
    if choose not in CHOICES:
        raise unknown_name("choice of teacher actions", choose, CHOICES)
    ranked = _ranked(rewards_N, is_policy_N) if choose == "best" else range(len(rewards_N))
    able = [i for i in ranked if not is_policy_N[i] and not np.isnan(rewards_N[i])]
    teachers = able[:teacher_rows]
    return sorted(_policy_rows(is_policy_N, group_size - len(teachers)) + teachers)


def on_failure(
    rewards: ArrayLike,
    is_policy: ArrayLike,
    success: ArrayLike,
    group_size: int,
    *,
    min_successes: int = 1,
    teacher_rows: int = 1,
    choose: str = "best",
) -> list[int]:
    """`quota` where fewer than ``min_successes`` policy actions succeeded; else `policy_only`."""
    _, is_policy_N, success_N = _checked(rewards, is_policy, success, group_size)
    _check_count("min_successes", min_successes, group_size)
    if int((success_N & is_policy_N).sum()) >= min_successes:
        return policy_only(rewards, is_policy, success, group_size)
    return quota(rewards, is_policy, success, group_size, teacher_rows=teacher_rows, choose=choose)


def policy_only(
    rewards: ArrayLike, is_policy: ArrayLike, success: ArrayLike, group_size: int
) -> list[int]:
    """The policy's own G actions: GRPO."""
    _, is_policy_N, _ = _checked(rewards, is_policy, success, group_size)
    return _policy_rows(is_policy_N, group_size)


SELECTION_RULES: dict[str, Rule] = {
    "top_g": top_g,
    "max_variance": max_variance,
    "quota": quota,
    "on_failure": on_failure,
    "policy_only": policy_only,
}


def get_rule(name: str, params: Mapping[str, Any] | None = None) -> Rule:
    """The rule of that name; ConfigError for an unknown name or a parameter it does not take."""
    if name not in SELECTION_RULES:
        raise unknown_name("selection rule", name, SELECTION_RULES)
    rule = SELECTION_RULES[name]
    takes = [
        p.name for p in inspect.signature(rule).parameters.values() if p.kind == p.KEYWORD_ONLY
    ]
    for key in params or {}:
        if key not in takes:
            raise unknown_name(f"parameter of selection rule {name!r}", key, takes)
    return rule


def _checked(
    rewards: ArrayLike, is_policy: ArrayLike, success: ArrayLike, group_size: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    rewards_N = np.asarray(rewards, dtype=np.float64)
    is_policy_N = np.asarray(is_policy, dtype=np.bool_)
    success_N = np.asarray(success, dtype=np.bool_)
    if not rewards_N.shape == is_policy_N.shape == success_N.shape == (len(rewards_N),):
        raise ValueError("rewards, is_policy and success must be (N,) arrays of one length.")
    if not 1 <= group_size <= len(rewards_N):
        raise ValueError(f"Cannot keep {group_size} of {len(rewards_N)} actions.")
    if np.isinf(rewards_N).any():
        raise ValueError("Rewards must be finite, or NaN where an action could not be scored.")
    return rewards_N, is_policy_N, success_N


def _check_count(name: str, value: int, group_size: int) -> None:
    if not 0 <= value <= group_size:
        raise ConfigError(
            f"{name} is {value}; it must lie between 0 and the group size {group_size}."
        )


def _ranked(rewards_N: NDArray[np.float64], is_policy_N: NDArray[np.bool_]) -> list[int]:
    """All indices: scorable first, higher reward, policy before teacher, lower index."""
    unscorable = np.isnan(rewards_N)
    keys = (np.arange(len(rewards_N)), ~is_policy_N, -np.nan_to_num(rewards_N), unscorable)
    return [int(i) for i in np.lexsort(keys)]


def _policy_rows(is_policy_N: NDArray[np.bool_], count: int) -> list[int]:
    rows: list[int] = np.flatnonzero(is_policy_N).tolist()
    if len(rows) < count:
        raise ValueError(f"The pool has {len(rows)} policy actions, {count} are needed.")
    return rows[:count]


def _spread_of(rewards_N: NDArray[np.float64]) -> Callable[[Iterable[int]], Fraction]:
    """G^2 times the population variance of the chosen rewards, without rounding."""
    exact = [Fraction(0) if np.isnan(r) else Fraction(float(r)) for r in rewards_N]

    def spread(chosen: Iterable[int]) -> Fraction:
        values = [exact[i] for i in chosen]
        return (
            len(values) * sum((v * v for v in values), Fraction(0)) - sum(values, Fraction(0)) ** 2
        )

    return spread
