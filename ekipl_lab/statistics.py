"""Estimates with intervals, and tests: pure functions over numbers.

Which interval for what:

- one proportion (greedy accuracy): ``wilson``;
- a mean over items with several samples each (pass@k): ``clustered_mean``;
- two methods over the same seeds: ``paired_t`` of the per-seed differences. The primary interval:
  with few seeds a bootstrap is too narrow;
- two models on the same items, one seed: ``mcnemar_exact``;
- several tests at once: ``holm``; before the study: ``seeds_needed``;
- two raters of the same things: ``cohen_kappa``.

Every function raises ConfigError where its value is undefined, and never returns a guess.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ekipl_lab.errors import ConfigError

CONFIDENCE = 0.95
#: Values within this of each other, relative to the largest (or to 1), are equal up to rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence limits; ``n`` is the number of units ``method`` counts."""

    value: float
    low: float
    high: float
    method: str
    n: int


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased chance that at least one of k samples is right, from c right ones among n.

    ``1 - C(n-c, k) / C(n, k)`` (Chen et al., arXiv 2107.03374). Undefined for n < k.
    """
    if not 0 <= c <= n:
        raise ConfigError(f"pass@k: {c} right samples of {n} is impossible.")
    if k < 1 or k > n:
        raise ConfigError(f"pass@{k} is undefined for {n} samples per item; draw at least {k}.")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod((n - c - i) / (n - i) for i in range(k))


def wilson(c: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of the proportion c / n."""
    if n < 1 or not 0 <= c <= n:
        raise ConfigError(f"Wilson's interval needs 0 <= successes <= n and n > 0; got {c} of {n}.")
    low, high = _wilson_limits(c / n, n, _normal_quantile(confidence))
    return Interval(c / n, low, high, "wilson", n)


def clustered_mean(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Mean of values in [0, 1], with an interval over clusters (default: each value its own).

    ``values`` (N,) are per-item estimates such as pass@k; items that share a scene or document are
    given the same cluster. The cluster-robust variance is turned into an effective number of
    independent items, p(1-p)/variance, whose Wilson interval (with the t quantile) is returned: it
    stays within [0, 1], and is not of zero width when all values are equal. ``n`` counts clusters.
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or x.size < 1 or not np.all((x >= 0) & (x <= 1)):
        raise ConfigError("A clustered mean needs one or more values, all between 0 and 1.")
    ids = range(x.size) if clusters is None else clusters
    if len(ids) != x.size:
        raise ConfigError(f"There are {x.size} values and {len(ids)} clusters; give one for each.")
    mean = float(x.mean())
    sums: dict[Hashable, float] = {}
    for cluster, residual in zip(ids, x - mean, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + float(residual)
    count = len(sums)
    effective, quantile = float(count), _normal_quantile(confidence)
    if count > 1:
        variance = count / (count - 1) * sum(s * s for s in sums.values()) / x.size**2
        quantile = _t_quantile(confidence, count - 1)
        if variance > 1e-18:
            effective = mean * (1 - mean) / variance
    low, high = _wilson_limits(mean, effective, quantile)
    return Interval(mean, low, high, "wilson over clusters", count)


def equal_up_to_rounding(values: ArrayLike) -> bool:
    """Whether all values (one or more) are the same number but for floating-point noise.

    20/60 - 17/60 and 31/60 - 28/60 are both 3/60, and differ in their last digits.
    """
    x = np.asarray(values, dtype=float)
    return bool(np.ptp(x) <= ROUNDING * max(1.0, float(np.abs(x).max())))


def spread(values: ArrayLike) -> float:
    """Standard deviation of 2 or more values; exactly 0 where they are equal up to rounding."""
    x = np.asarray(values, dtype=float)
    return 0.0 if equal_up_to_rounding(x) else float(x.std(ddof=1))


def paired_t(differences: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Student's t interval of the mean of seed-level paired differences (S,), S >= 2."""
    mean, error, count = _mean_and_error(differences)
    half = _t_quantile(confidence, count - 1) * error
    return Interval(mean, mean - half, mean + half, "paired t over seeds", count)


def paired_t_pvalue(differences: ArrayLike) -> float:
    """Two-sided p-value of a mean difference of 0.

    Needs 2 or more differences that are not all equal up to rounding.
    """
    mean, error, count = _mean_and_error(differences)
    if error == 0.0:
        raise ConfigError("The t test is undefined: all seeds have the same difference.")
    return float(2 * special.stdtr(count - 1, -abs(mean / error)))


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value: a binomial test on the items that only one of two models solves."""
    if only_a < 0 or only_b < 0:
        raise ConfigError(f"McNemar's test needs counts >= 0; got {only_a} and {only_b}.")
    discordant = only_a + only_b
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), discordant, 0.5)))


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order: below alpha means rejected at level alpha."""
    for p in pvalues:
        if not 0.0 <= p <= 1.0:
            raise ConfigError(f"Holm's procedure needs p-values between 0 and 1; got {p}.")
    adjusted = [0.0] * len(pvalues)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(pvalues)), key=lambda i: pvalues[i])):
        running = max(running, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        adjusted[index] = running
    return adjusted


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Agreement of two raters beyond chance: 1 all alike, 0 as chance would have it.

    None where chance alone would always agree: both raters gave one and the same label throughout.
    """
    if not first or len(first) != len(second):
        raise ConfigError(f"Kappa needs labels in pairs; got {len(first)} and {len(second)}.")
    count = len(first)
    equal = sum(a == b for a, b in zip(first, second, strict=True)) / count
    labels = set(first) | set(second)
    chance = sum(list(first).count(one) * list(second).count(one) for one in labels) / count**2
    return None if chance == 1.0 else (equal - chance) / (1.0 - chance)


def power_paired_t(seeds: int, difference: float, spread: float, alpha: float = 0.05) -> float:
    """Chance that the two-sided paired t test finds ``difference``.

    ``spread`` is the standard deviation of the per-seed differences, in the same unit.
    """
    finite = math.isfinite(difference) and math.isfinite(spread)
    if seeds < 2 or not finite or spread <= 0 or not 0 < alpha < 1:
        raise ConfigError(
            "Power needs 2 or more seeds, a finite difference, a spread > 0 and alpha in (0, 1)."
        )
    degrees = seeds - 1
    shift = abs(difference) / spread * math.sqrt(seeds)
    critical = _t_quantile(1 - alpha, degrees)
    upper = 1 - float(special.nctdtr(degrees, shift, critical))
    return upper + float(special.nctdtr(degrees, shift, -critical))


def seeds_needed(
    difference: float, spread: float, power: float = 0.8, alpha: float = 0.05, limit: int = 10_000
) -> int:
    """The smallest number of seeds (2 or more) whose paired t test has the wanted power."""
    if difference == 0 or not 0 < power < 1:
        raise ConfigError("Seeds needed: the difference must not be 0 and power be in (0, 1).")
    low, high = 1, 2
    while power_paired_t(high, difference, spread, alpha) < power:
        low, high = high, high * 2
        if high > limit:
            raise ConfigError(f"More than {limit} seeds are needed; the difference is too small.")
    while high - low > 1:
        middle = (low + high) // 2
        enough = power_paired_t(middle, difference, spread, alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def _mean_and_error(differences: ArrayLike) -> tuple[float, float, int]:
    x = np.asarray(differences, dtype=float)
    if x.ndim != 1 or x.size < 2 or not np.all(np.isfinite(x)):
        raise ConfigError("A paired t needs finite differences of 2 or more seeds.")
    mean = float(x[0]) if equal_up_to_rounding(x) else float(x.mean())
    return mean, spread(x) / math.sqrt(x.size), x.size


def _wilson_limits(p: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's limits for a proportion p of n, n not necessarily whole."""
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if p == 0.0 else max(0.0, centre - half)
    high = 1.0 if p == 1.0 else min(1.0, centre + half)
    return low, high


def _normal_quantile(confidence: float) -> float:
    return float(special.ndtri(_upper_tail(confidence)))


def _t_quantile(confidence: float, degrees: int) -> float:
    return float(special.stdtrit(degrees, _upper_tail(confidence)))


def _upper_tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ConfigError(f"The confidence {confidence} must be between 0 and 1.")
    return 0.5 + confidence / 2
