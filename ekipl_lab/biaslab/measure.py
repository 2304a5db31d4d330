"""Expected update of an estimator, its bias and its noise, without sampling.

Given the reward classes of a group, what is kept and every advantage are fixed, and its actions are
independent draws. With x_k = sum |A| and y_k = sum A^2 over the kept rows of cell k (`rows.Rows`),

    E[u]     = 1/G    E[x] . mean
    E[|u|^2] = 1/G^2  (E[x' K x] + E[y] . (square - |mean|^2)),    K = mean mean'

where the expectation over groups is a sum over all patterns of classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ekipl_lab.biaslab.groups import Grouping, GroupTable, group_table
from ekipl_lab.biaslab.rows import Rows, Scene, Weight, row_moments
from ekipl_lab.biaslab.toy import LENGTH, REWARDS, Array, exact_gradient

#: The reward whose expectation is the chance of a right answer.
ACCURACY = REWARDS["binary"]


@dataclass(frozen=True)
class Measured:
    """One estimator in one scene: ``g`` the exact gradient of expected reward, ``u`` the update.

    bias           |E[u] - g| / |g|
    cosine         between E[u] and g; 0 where the expected update is 0
    scale          E[u] . g / |g|^2: 1 is the gradient's own length, below 0 is downhill
    success_scale  the same as scale, against the gradient of the chance of a right answer
    policy_cosine  cosine and scale of the part of E[u] that comes from the policy's rows
    policy_scale
    variance       trace of the covariance of u, of one group
    noise          sqrt(variance) / |E[u]|; None where the expected update is 0
    ess            effective sample size (sum w)^2 / sum w^2 of all kept tokens, as a share
    idle           share of kept tokens that a clip or a truncation leaves without slope
    zero_spread    share of groups whose kept rewards are all equal
    teacher_kept   share of kept actions that are the teacher's
    """

    bias: float
    cosine: float
    scale: float
    success_scale: float
    policy_cosine: float
    policy_scale: float
    variance: float
    noise: float | None
    ess: float
    idle: float
    zero_spread: float
    teacher_kept: float


def measure(scene: Scene, grouping: Grouping, weight: Weight) -> Measured:
    """Everything about one estimator, exactly."""
    table = group_table(grouping, scene.reward)
    gradients = exact_gradient(scene.now, scene.reward), exact_gradient(scene.now, ACCURACY)
    return measured(table, row_moments(scene, weight), *gradients)


def measured(table: GroupTable, rows: Rows, gradient: Array, success: Array) -> Measured:
    """The same from parts that several estimators share."""
    chance = pattern_probs(table, rows)
    update, own = expected_update(table, rows, chance)
    variance = max(mean_square(table, rows, chance) - float(update @ update), 0.0)
    length, size = float(np.linalg.norm(gradient)), float(np.linalg.norm(update))
    counts = chance @ table.sums[0]
    places = table.kept.shape[1]
    weights, squares = float(counts @ rows.weight), float(counts @ rows.weight_square)
    return Measured(
        bias=float(np.linalg.norm(update - gradient)) / length,
        cosine=cosine(update, gradient),
        scale=scale(update, gradient),
        success_scale=scale(update, success),
        policy_cosine=cosine(own, gradient),
        policy_scale=scale(own, gradient),
        variance=variance,
        noise=float(np.sqrt(variance)) / size if size > 1e-12 else None,
        ess=weights**2 / (squares * places * LENGTH) if squares else 0.0,
        idle=float(counts @ rows.idle) / places,
        zero_spread=float(chance @ table.flat),
        teacher_kept=float(chance @ (table.is_policy[table.kept] == 0).mean(axis=1)),
    )


def pattern_probs(table: GroupTable, rows: Rows) -> Array:
    """(P,) the chance of each pattern: candidates are independent given their source."""
    out: Array = rows.class_probs[1 - table.is_policy, table.classes].prod(axis=1)
    return out


def expected_update(table: GroupTable, rows: Rows, chance: Array) -> tuple[Array, Array]:
    """E[u] (39,), and the part of it that comes from policy rows."""
    amounts = chance @ table.sums[1] / table.kept.shape[1]
    policy = np.arange(len(amounts)) < len(amounts) // 2
    return amounts @ rows.mean, (amounts * policy) @ rows.mean


def mean_square(table: GroupTable, rows: Rows, chance: Array) -> float:
    """E[|u|^2]."""
    _, x, y = table.sums
    gram = rows.mean @ rows.mean.T
    between = chance @ ((x @ gram) * x).sum(axis=1)
    within = chance @ y @ (rows.square - np.diag(gram))
    return float(between + within) / float(table.kept.shape[1] ** 2)


def scale(update: Array, gradient: Array) -> float:
    """How many times the gradient the update holds."""
    return float(update @ gradient) / float(gradient @ gradient)


def cosine(a: Array, b: Array) -> float:
    """0 where one of them is 0."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths > 1e-12 else 0.0
