"""What one kept action adds to the update, through the weighting the trainer uses.

The trainer's loss is a mean over the G kept actions of a mean over each action's T tokens. All
actions of the toy have T = 3 tokens, so the update is stated as T times the gradient of that:

    u = 1/G sum_{i kept} sum_t  d objective_it / d log pi_it  grad log pi_it

which for GRPO at ratio 1 is the textbook mean of A grad log pi(a). The objective is linear in the
size of A and depends on its sign through the clip: two slopes per action tell everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ekipl_lab.biaslab.groups import labelled
from ekipl_lab.biaslab.toy import (
    ACTIONS,
    LENGTH,
    Array,
    Reward,
    action_probs,
    token_probs,
    token_scores,
)
from ekipl_lab.groups.weighting import get_weighting, objective

#: Clip range on both sides, TRL's default.
EPSILON = 0.2
SIGNS = (1.0, -1.0)


@dataclass(frozen=True)
class Weight:
    """A weighting of teacher tokens and its parameters."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The weighting and its parameters."""
        return labelled(self.name, self.params)


#: The weight of every policy token.
OWN = Weight("policy_ratio")


@dataclass(frozen=True)
class Scene:
    """Where the update is made: the policy now, the policy that sampled, the teacher.

    Each is a (13, 3) table of token probabilities. ``old`` equals ``now`` at ratio 1.
    """

    now: Array
    old: Array
    teacher: Array
    reward: Reward


@dataclass(frozen=True)
class Slopes:
    """Of every token of every action.

    by_sign (2, 27, 3) d objective / d log pi for A = +1 and A = -1; weight (27, 3) ratio x factor.
    """

    by_sign: Array
    weight: Array


@dataclass(frozen=True)
class Rows:
    """Moments of one kept action's part of the update, given its cell.

    Cells are (source: policy, teacher) x (sign of A: +, -) x (class), K = 4 C of them.
    mean (K, 39); square (K,) E|part|^2; weight, weight_square (K,) expected sums over tokens of
    the weight and its square; idle (K,) share of tokens without slope (clipped or truncated);
    class_probs (2, C) how often a source falls into a class.
    """

    mean: Array
    square: Array
    weight: Array
    weight_square: Array
    idle: Array
    class_probs: Array


def row_moments(scene: Scene, weight: Weight) -> Rows:
    """Exact moments, by listing the 27 actions of both sources."""
    classes = np.arange(len(scene.reward.outcomes))[:, None] == scene.reward.class_of  # (C, 27)
    scores = token_scores(scene.now)
    cells: list[tuple[Array, ...]] = []
    shares: list[Array] = []
    for probs, slopes in (
        (action_probs(scene.old), token_slopes(scene, OWN)),
        (action_probs(scene.teacher), token_slopes(scene, weight)),
    ):
        joint = probs * classes
        shares.append(joint.sum(axis=1))
        given = joint / np.maximum(shares[-1], 1e-300)[:, None]  # (C, 27) P(action | class)
        for slope in slopes.by_sign:
            parts = np.einsum("at,atp->ap", slope, scores)
            cells.append(
                (
                    given @ parts,
                    given @ (parts**2).sum(axis=1),
                    given @ slopes.weight.sum(axis=1),
                    given @ (slopes.weight**2).sum(axis=1),
                    given @ (slope == 0).mean(axis=1),
                )
            )
    mean, square, total, total_square, idle = (
        np.concatenate(column) for column in zip(*cells, strict=True)
    )
    return Rows(mean, square, total, total_square, idle, np.array(shares))


def token_slopes(scene: Scene, weight: Weight) -> Slopes:
    """Derivatives of the trainer's objective, by its own code.

    An action that the teacher never gives has q = 0 and no weight; it never occurs either, so its
    slopes are 0. Policy rows are weighted by pi/pi_old, which does not look at q.
    """
    listed = weight == OWN or action_probs(scene.teacher) > 0
    rows = np.flatnonzero(np.broadcast_to(listed, len(ACTIONS)))
    logp = logs(scene.now, rows).requires_grad_()
    old, q = logs(scene.old, rows), logs(scene.teacher, rows)
    token = get_weighting(weight.name, weight.params)(
        logp, old, q, torch.ones_like(old), **weight.params
    )
    by_sign, values = np.zeros((2, len(ACTIONS), LENGTH)), np.zeros((len(ACTIONS), LENGTH))
    for index, sign in enumerate(SIGNS):
        advantages = torch.full((len(rows), 1), sign, dtype=torch.float64)
        value = objective(token, advantages, EPSILON, EPSILON).sum()
        (slope,) = torch.autograd.grad(value, logp, retain_graph=True)
        by_sign[index, rows] = slope.numpy()
    values[rows] = (token.ratio * token.factor).detach().numpy()
    return Slopes(by_sign, values)


def logs(probs: Array, rows: NDArray[np.int64]) -> torch.Tensor:
    """(n, 3) log-probabilities of the tokens of those actions."""
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.log(token_probs(probs)[rows]))
