"""Estimates and tests against hand-computed values, brute force and other formulas."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ekipl_lab.errors import ConfigError
from ekipl_lab.statistics import (
    Interval,
    clustered_mean,
    holm,
    mcnemar_exact,
    paired_t,
    paired_t_pvalue,
    pass_at_k,
    power_paired_t,
    seeds_needed,
    wilson,
)


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)  # 1 - C(3,2)/C(4,2) = 1 - 3/6
    assert pass_at_k(32, 8, 1) == pytest.approx(0.25)
    assert pass_at_k(5, 0, 5) == 0.0
    assert pass_at_k(5, 1, 5) == 1.0


def test_pass_at_k_against_every_subset() -> None:
    for n in range(1, 8):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
            share = sum(any(subset) for subset in subsets) / len(subsets)
            assert pass_at_k(n, c, k) == pytest.approx(share)


def test_pass_at_k_is_exact_for_large_n() -> None:
    exact = 1 - math.comb(990, 64) / math.comb(1000, 64)
    assert pass_at_k(1000, 10, 64) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_is_undefined_not_guessed(n: int, c: int, k: int) -> None:
    with pytest.raises(ConfigError, match="pass@"):
        pass_at_k(n, c, k)


def test_wilson_by_hand() -> None:
    # z = 1.959964, n = 10, p = 0.8: centre (0.8 + 0.192073)/1.384146, half 0.226593
    interval = wilson(8, 10)
    assert interval == Interval(
        0.8, pytest.approx(0.490162, abs=1e-6), pytest.approx(0.943318, abs=1e-6), "wilson", 10
    )
    assert wilson(0, 10).low == 0.0 and wilson(0, 10).high == pytest.approx(0.277533, abs=1e-6)
    assert wilson(10, 10).high == 1.0
    for c, n in [(3, 7), (50, 90)]:
        theirs = stats.binomtest(c, n).proportion_ci(0.9, method="wilson")
        ours = wilson(c, n, 0.9)
        assert (ours.low, ours.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_wilson_covers_as_its_exact_curve_says() -> None:
    """Exact coverage at p by summing the binomial over the c whose interval holds p."""
    n = 40
    intervals = [wilson(c, n) for c in range(n + 1)]
    curve = [
        sum(stats.binom.pmf(c, n, p) for c, i in enumerate(intervals) if i.low <= p <= i.high)
        for p in np.linspace(0.05, 0.95, 19)
    ]
    assert min(curve) > 0.92 and 0.945 < float(np.mean(curve)) < 0.965


def test_clustered_mean_by_hand() -> None:
    # values 0, 1/2, 1, 1/2: p = 1/2, variance of the mean (1/6)/4 = 1/24, n_eff = 0.25*24 = 6,
    # t(0.975, 3) = 3.182446; Wilson: centre 1/2, half = t/2/sqrt(6 + t^2)
    interval = clustered_mean([0.0, 0.5, 1.0, 0.5])
    half = 3.182446 / 2 / math.sqrt(6 + 3.182446**2)
    assert interval.value == 0.5 and interval.n == 4
    assert interval.low == pytest.approx(0.5 - half, abs=1e-6)
    assert interval.high == pytest.approx(0.5 + half, abs=1e-6)


def test_clustered_mean_counts_clusters_not_values() -> None:
    items = [0.0, 1.0, 1.0, 0.0, 1.0]
    doubled = [value for value in items for _ in range(7)]
    ids = [index for index in range(5) for _ in range(7)]
    one, many = clustered_mean(items), clustered_mean(doubled, ids)
    assert (many.low, many.high) == (pytest.approx(one.low), pytest.approx(one.high))
    assert many.n == 5
    naive = clustered_mean(doubled)
    assert naive.high - naive.low < 0.5 * (many.high - many.low)


def test_clustered_mean_without_spread_is_not_certain() -> None:
    assert clustered_mean([0.0] * 10).high > 0.2
    assert clustered_mean([1.0] * 10).low < 0.8
    assert clustered_mean([1.0]).low < 0.3
    for bad in ([], [1.5], [float("nan")]):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            clustered_mean(bad)
    with pytest.raises(ConfigError, match="2 values and 1 clusters"):
        clustered_mean([0.0, 1.0], ["a"])


def test_clustered_mean_covers() -> None:
    """pass@4 from 8 samples of 60 items whose chances differ: 95 % within 93 to 97."""
    rng = np.random.default_rng(7)
    chances = rng.beta(0.6, 1.2, size=(1500, 60))
    truth = 1 - _beta_power(0.6, 1.2, 4)
    table = [pass_at_k(8, c, 4) for c in range(9)]
    hits = 0
    for right in rng.binomial(8, chances):
        interval = clustered_mean([table[c] for c in right])
        hits += interval.low <= truth <= interval.high
    assert 0.93 <= hits / 1500 <= 0.97


def _beta_power(a: float, b: float, k: int) -> float:
    """E[(1-p)^k] for p ~ Beta(a, b)."""
    return math.prod((b + i) / (a + b + i) for i in range(k))


def test_paired_t_by_hand() -> None:
    # mean 0.02, sd 0.01, error 0.01/sqrt(3), t(0.975, 2) = 4.302653
    interval = paired_t([0.01, 0.02, 0.03])
    assert interval.value == pytest.approx(0.02)
    assert interval.high - interval.value == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert interval.n == 3
    assert paired_t_pvalue([0.01, 0.02, 0.03]) == pytest.approx(
        stats.ttest_1samp([0.01, 0.02, 0.03], 0.0).pvalue
    )
    assert paired_t([0.5, 0.5]) == Interval(0.5, 0.5, 0.5, "paired t over seeds", 2)
    for bad in ([0.1], [0.1, float("nan")]):
        with pytest.raises(ConfigError, match="2 or more seeds"):
            paired_t(bad)
    with pytest.raises(ConfigError, match="same difference"):
        paired_t_pvalue([0.5, 0.5])


@pytest.mark.parametrize("seeds", [3, 5, 8, 20])
def test_paired_t_covers_at_few_seeds(seeds: int) -> None:
    """Differences of two accuracies on 200 items, with a spread between seeds of 0.03."""
    rng = np.random.default_rng(seeds)
    shape = (4000, seeds)
    base = np.clip(rng.normal(0.5, 0.05, shape), 0.01, 0.99)
    other = np.clip(base + rng.normal(0.04, 0.03, shape), 0.01, 0.99)
    differences = (rng.binomial(200, other) - rng.binomial(200, base)) / 200
    hits = 0
    for row in differences:
        interval = paired_t(row)
        hits += interval.low <= 0.04 <= interval.high
    assert 0.93 <= hits / 4000 <= 0.97


def test_mcnemar_by_hand() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(1, 0) == 1.0
    assert mcnemar_exact(0, 6) == pytest.approx(2 / 64)
    assert mcnemar_exact(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert mcnemar_exact(4, 4) == 1.0
    assert mcnemar_exact(13, 5) == pytest.approx(stats.binomtest(5, 18).pvalue)
    with pytest.raises(ConfigError, match="counts"):
        mcnemar_exact(-1, 2)


def test_holm_by_hand() -> None:
    # sorted 0.01*4, 0.02*3, 0.03*2 -> 0.06 (monotone), 0.5*1
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.6, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ConfigError, match="nan"):
        holm([float("nan")])


def test_power_and_seeds_needed() -> None:
    # Textbook value: effect 0.5 sd, alpha 0.05, power 0.80 -> 34 pairs (G*Power)
    assert seeds_needed(0.5, 1.0) == 34
    assert power_paired_t(34, 0.5, 1.0) == pytest.approx(0.8078, abs=1e-3)
    assert power_paired_t(33, 0.5, 1.0) < 0.8
    assert seeds_needed(-0.05, 0.02) == seeds_needed(0.05, 0.02) == 4
    assert power_paired_t(5, 0.0, 1.0) == pytest.approx(0.05)
    with pytest.raises(ConfigError, match="too small"):
        seeds_needed(1e-6, 1.0)
    with pytest.raises(ConfigError, match="must not be 0"):
        seeds_needed(0.0, 1.0)
    for difference, spread in ((math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, math.inf)):
        with pytest.raises(ConfigError, match="a finite difference"):
            seeds_needed(difference, spread)


def test_power_agrees_with_simulation() -> None:
    rng = np.random.default_rng(3)
    rejected = sum(
        not (interval.low <= 0 <= interval.high)
        for interval in map(paired_t, rng.normal(0.8, 1.0, (4000, 10)))
    )
    assert rejected / 4000 == pytest.approx(power_paired_t(10, 0.8, 1.0), abs=0.025)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1.5])
def test_confidence_must_make_sense(confidence: float) -> None:
    with pytest.raises(ConfigError, match="confidence"):
        wilson(1, 2, confidence)
