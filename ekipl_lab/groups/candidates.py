"""The candidates of one prompt as the arrays that a selection rule looks at, and their order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ekipl_lab.types import POLICY, ActionGroup, RewardBreakdown


@dataclass(frozen=True, slots=True)
class Candidates:
    """N candidates, the G policy actions first, of which ``group_size`` (G) are to be kept.

    rewards     (N,) float; NaN means "could not be scored": kept last
    is_policy   (N,) bool
    success     (N,) bool; the accuracy component alone reached its threshold (never the total)
    """

    rewards: NDArray[np.float64]
    is_policy: NDArray[np.bool_]
    success: NDArray[np.bool_]
    group_size: int

    @classmethod
    def of(
        cls, rewards: ArrayLike, is_policy: ArrayLike, success: ArrayLike, group_size: int
    ) -> Candidates:
        """The same from any sequences; ValueError where they are no pool of N >= G actions."""
        rewards_N = np.asarray(rewards, dtype=np.float64)
        is_policy_N = np.asarray(is_policy, dtype=np.bool_)
        success_N = np.asarray(success, dtype=np.bool_)
        if not rewards_N.shape == is_policy_N.shape == success_N.shape == (len(rewards_N),):
            raise ValueError("rewards, is_policy and success must be (N,) arrays of one length.")
        if not 1 <= group_size <= len(rewards_N):
            raise ValueError(f"Cannot keep {group_size} of {len(rewards_N)} actions.")
        if np.isinf(rewards_N).any():
            raise ValueError("Rewards must be finite, or NaN where an action could not be scored.")
        return cls(rewards_N, is_policy_N, success_N, group_size)

    @property
    def scorable(self) -> NDArray[np.bool_]:
        """(N,) whether an action has a reward."""
        return ~np.isnan(self.rewards)

    def ranked(self, *, worst_first: bool = False) -> list[int]:
        """All indices: scorable first, higher reward, policy before teacher, lower index.

        ``worst_first`` puts the lower reward first; everything else stays.
        """
        rewards = np.nan_to_num(self.rewards) * (1 if worst_first else -1)
        keys = (np.arange(len(rewards)), ~self.is_policy, rewards, ~self.scorable)
        return [int(i) for i in np.lexsort(keys)]

    def policy_rows(self, count: int) -> list[int]:
        """The first ``count`` policy actions, in sampling order."""
        rows: list[int] = np.flatnonzero(self.is_policy).tolist()
        if len(rows) < count:
            raise ValueError(f"The pool has {len(rows)} policy actions, {count} are needed.")
        return rows[:count]


def candidates_of(group: ActionGroup) -> Candidates:
    """The candidates of a finished group."""
    return Candidates.of(
        reward_totals(group.rewards),
        [action.source == POLICY for action in group.candidates],
        [reward.success is True for reward in group.rewards],
        len(group.kept),
    )


def reward_totals(rewards: Sequence[RewardBreakdown]) -> list[float]:
    """Totals (N,), NaN where an action could not be scored."""
    totals = [breakdown.total for breakdown in rewards]
    return [math.nan if total is None else float(total) for total in totals]
