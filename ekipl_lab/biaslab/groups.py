"""Every group that selection can meet, through the function the trainer calls.

Selection and advantages see rewards, success, source and order, nothing else. So a group is a
*pattern*: the reward class of each of its N candidates. There are C^N patterns; each goes through
`build_group` once, and actions of one class and source are exchangeable afterwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ekipl_lab.biaslab.toy import Array, Index, Reward
from ekipl_lab.errors import unknown_name
from ekipl_lab.groups.build import build_group
from ekipl_lab.types import POLICY, Action, RewardBreakdown, Sample

#: Baselines of no trainer, for checks against textbook results: "none" A = R; "leave_one_out"
#: A_i = R_i - mean of the other kept rewards. Both without division by a spread.
REFERENCE_BASELINES = ("none", "leave_one_out")

SAMPLE = Sample("biaslab", "toy", "train", (), "?", "0", "number")


@dataclass(frozen=True)
class Grouping:
    """How groups are made: G policy and k teacher actions, the rule, the advantage."""

    rule: str
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    baseline: str = "kept"
    scale_rewards: str = "group"
    group_size: int = 4
    teacher_actions: int = 2

    @property
    def label(self) -> str:
        """The rule and its parameters."""
        return labelled(self.rule, self.params)


def labelled(name: str, params: Mapping[str, Any]) -> str:
    """A name with its parameters in brackets, if there are some."""
    inside = ", ".join(f"{key}={value}" for key, value in params.items())
    return f"{name}({inside})" if inside else name


@dataclass(frozen=True)
class GroupTable:
    """All P patterns of one grouping.

    classes (P, N) the reward class of each candidate; kept (P, G) indices; advantages (P, G);
    is_policy (N,). Equal rewards mean equal classes: no two classes share a total.
    """

    num_classes: int
    classes: Index
    kept: Index
    advantages: Array
    is_policy: Index

    @cached_property
    def flat(self) -> NDArray[np.bool_]:
        """(P,) whether all kept rewards are equal: group-relative advantages are then all 0."""
        kept = np.take_along_axis(self.classes, self.kept, axis=1)
        return np.asarray((kept == kept[:, :1]).all(axis=1))

    @cached_property
    def sums(self) -> tuple[Array, Array, Array]:
        """(P, K) each, over the kept rows of every cell: their number, sum |A|, sum A^2.

        Cells are those of `rows.Rows`: (policy, teacher) x (A >= 0, A < 0) x class.
        """
        teacher = 1 - self.is_policy[self.kept]
        kept = np.take_along_axis(self.classes, self.kept, axis=1)
        cell = (2 * teacher + (self.advantages < 0)) * self.num_classes + kept
        patterns = np.arange(len(cell))[:, None]
        out = np.zeros((3, len(cell), 4 * self.num_classes))
        for power in range(3):
            np.add.at(out[power], (patterns, cell), np.abs(self.advantages) ** power)
        return out[0], out[1], out[2]


def keep(grouping: Grouping, reward: Reward, classes: tuple[int, ...]) -> tuple[Index, Array]:
    """(kept (G,), advantages (G,)) of one pattern, with the breakdowns a scorer would give."""
    size = grouping.group_size
    reference = grouping.baseline in REFERENCE_BASELINES
    sources = [POLICY if place < size else "teacher" for place in range(len(classes))]
    outcomes = [reward.outcomes[which] for which in classes]
    group = build_group(
        SAMPLE,
        [Action("", source, source) for source in sources],
        [
            RewardBreakdown(
                components={"accuracy": accuracy, "format": well_formed},
                weights={"accuracy": 1.0, "format": reward.format_weight},
                success=accuracy >= 1.0,
            )
            for accuracy, well_formed in outcomes
        ],
        rule=grouping.rule,
        group_size=size,
        baseline="kept" if reference else grouping.baseline,
        scale_rewards="none" if reference else grouping.scale_rewards,
        **grouping.params,
    )
    kept = np.array(group.kept)
    if not reference:
        return kept, np.array(group.advantages)
    totals = np.array([group.rewards[i].total for i in group.kept], dtype=np.float64)
    return kept, reference_advantages(grouping.baseline, totals)


def reference_advantages(baseline: str, kept_rewards: Array) -> Array:
    """A (G,) of the baselines that no trainer offers."""
    if baseline == "none":
        return kept_rewards
    if baseline == "leave_one_out":
        others = len(kept_rewards) - 1
        left_out: Array = kept_rewards - (kept_rewards.sum() - kept_rewards) / others
        return left_out
    raise unknown_name("reference baseline", baseline, REFERENCE_BASELINES)


@lru_cache(maxsize=256)
def group_table(grouping: Grouping, reward: Reward) -> GroupTable:
    """All patterns of a grouping; computed once for each."""
    size, actions, classes = grouping.group_size, grouping.teacher_actions, len(reward.outcomes)
    patterns = list(itertools.product(range(classes), repeat=size + actions))
    built = [keep(grouping, reward, pattern) for pattern in patterns]
    return GroupTable(
        num_classes=classes,
        classes=np.array(patterns),
        kept=np.array([kept for kept, _ in built]),
        advantages=np.array([advantages for _, advantages in built]),
        is_policy=np.array([1] * size + [0] * actions),
    )
