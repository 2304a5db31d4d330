"""The same update by drawing groups at random: checks the enumeration, shares little with it.

Actions are drawn in order and put through `build_group` as actions; the gradient is that of TRL's
clipped surrogate after `as_trl`, the way the trainer's loss takes a weighting.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from ekipl_lab.biaslab.groups import Grouping, keep
from ekipl_lab.biaslab.rows import EPSILON, OWN, Scene, Weight, logs
from ekipl_lab.biaslab.toy import Array, Index, action_probs, token_scores
from ekipl_lab.groups.weighting import as_trl, get_weighting


@dataclass(frozen=True)
class Simulated:
    """mean (39,) of u over ``groups`` drawn groups, its standard_error (39,), and the trace of
    u's covariance."""

    mean: Array
    standard_error: Array
    variance: float
    groups: int

    def z(self, expected: Array) -> Array:
        """How many standard errors each coordinate lies off; 0 where it never varies."""
        off = self.mean - expected
        varies = self.standard_error > 1e-12
        return np.where(varies, off / np.where(varies, self.standard_error, 1.0), 0.0)


def simulate(
    scene: Scene, grouping: Grouping, weight: Weight, *, groups: int, seed: int
) -> Simulated:
    """Draw ``groups`` groups with a generator of that seed and average their updates."""
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [
            draw(action_probs(scene.old), (groups, grouping.group_size), rng),
            draw(action_probs(scene.teacher), (groups, grouping.teacher_actions), rng),
        ],
        axis=1,
    )
    updates = group_updates(scene, grouping, weight, drawn)
    error = updates.std(axis=0, ddof=1) / np.sqrt(groups)
    variance = float(updates.var(axis=0, ddof=1).sum())
    return Simulated(updates.mean(axis=0), error, variance, groups)


def group_updates(scene: Scene, grouping: Grouping, weight: Weight, drawn: Index) -> Array:
    """u (n, 39) of n groups of actions (n, N), each grouped by `build_group`."""
    grouped = cache(lambda classes: keep(grouping, scene.reward, classes))
    pairs = [grouped(tuple(row)) for row in scene.reward.class_of[drawn].tolist()]
    kept = np.array([kept for kept, _ in pairs])
    advantages = np.array([advantages for _, advantages in pairs])
    actions = np.take_along_axis(drawn, kept, axis=1)
    scores = token_scores(scene.now)
    updates = np.zeros((len(drawn), scores.shape[-1]))
    for chosen, with_weight in (
        (kept < grouping.group_size, OWN),
        (kept >= grouping.group_size, weight),
    ):
        slopes = trl_slopes(scene, with_weight, actions[chosen], advantages[chosen])
        parts = np.einsum("nt,ntp->np", slopes, scores[actions[chosen]])
        np.add.at(updates, np.nonzero(chosen)[0], parts)
    return updates / grouping.group_size


def draw(probs: Array, shape: tuple[int, int], rng: np.random.Generator) -> Index:
    """Actions, by number."""
    return rng.choice(len(probs), size=shape, p=probs / probs.sum())


def trl_slopes(scene: Scene, weight: Weight, actions: Index, advantages: Array) -> Array:
    """(n, 3) d(-loss) / d log pi of TRL's clipped surrogate, summed over tokens."""
    logp, old, q = (logs(probs, actions) for probs in (scene.now, scene.old, scene.teacher))
    made, mask = get_weighting(weight.name, weight.params), torch.ones_like(old)
    given = torch.from_numpy(advantages)[:, None]
    scaled, denominator, _ = as_trl(made, logp, old, q, mask, given, **weight.params)
    leaf = logp.clone().requires_grad_()
    ratio = torch.exp(leaf - denominator)
    clamped = torch.clamp(ratio, 1 - EPSILON, 1 + EPSILON)
    (slope,) = torch.autograd.grad(torch.min(ratio * scaled, clamped * scaled).sum(), leaf)
    out: Array = slope.numpy()
    return out
