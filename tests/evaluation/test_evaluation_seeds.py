"""Comparisons over seeds and by group, by hand-computed values."""

import math

import pytest

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import compare_seeds
from ekipl_lab.evaluation.slices import changes_since
from ekipl_lab.statistics import holm, paired_t_pvalue
from ekipl_lab.types import Action, EvalRecord, RewardBreakdown

ACTION = Action("x", "policy", "m", token_ids=(1, 2))


def run(right: int, total: int = 10, mode: str = "greedy") -> list[EvalRecord]:
    """``total`` items of two families, the first ``right`` of them solved."""
    return [
        EvalRecord(
            f"s{i}", "counting", "test", "even" if i % 2 == 0 else "odd", 0, "m", mode, (ACTION,),
            (RewardBreakdown({"accuracy": float(i < right)}, {"accuracy": 1.0}, i < right),),
        )
        for i in range(total)
    ]  # fmt: skip


def test_paired_seeds_by_hand() -> None:
    a = {2: run(8), 1: run(6), 3: run(7)}
    b = {3: run(4), 1: run(5), 2: run(6)}
    (found,) = compare_seeds(a, b)
    assert found.seeds == (1, 2, 3)
    assert found.differences == pytest.approx((0.1, 0.2, 0.3))
    assert (found.value_a, found.value_b) == (pytest.approx(0.7), pytest.approx(0.5))
    assert found.difference == pytest.approx(0.2)
    # sd 0.1, error 0.1/sqrt(3), t(0.975, 2) = 4.302653
    assert found.high - found.difference == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert found.p_value == pytest.approx(paired_t_pvalue([0.1, 0.2, 0.3]))
    assert found.p_holm == found.p_value


def test_groups_are_corrected_together() -> None:
    a = {1: run(6), 2: run(9), 3: run(8)}
    b = {1: run(3), 2: run(4), 3: run(2)}
    found = compare_seeds(a, b, by=("family",))
    assert [one.group for one in found] == [{"family": "even"}, {"family": "odd"}]
    # even items 0, 2, 4, ...: 3, 5, 4 of 5 solved against 2, 2, 1; odd: 3, 4, 4 against 1, 2, 1
    assert found[0].differences == pytest.approx((0.2, 0.6, 0.6))
    assert found[1].differences == pytest.approx((0.4, 0.4, 0.6))
    p = [one.p_value for one in found]
    assert [one.p_holm for one in found] == pytest.approx(holm(p))  # type: ignore[arg-type]
    assert max(p) > min(p)  # type: ignore[type-var]


def test_a_difference_without_spread_has_no_p_value() -> None:
    (found,) = compare_seeds({1: run(6), 2: run(6)}, {1: run(5), 2: run(5)})
    assert (found.low, found.high) == (found.difference, found.difference)
    assert found.p_value is None and found.p_holm is None


def test_unlike_runs_are_refused() -> None:
    good = {1: run(6), 2: run(7)}
    with pytest.raises(DataError, match=r"\[2, 3\] are in one method only"):
        compare_seeds(good, {1: run(6), 3: run(7)})
    with pytest.raises(ConfigError, match="2 or more seeds"):
        compare_seeds({1: run(6)}, {1: run(5)})
    with pytest.raises(DataError, match="such as s10"):
        compare_seeds(good, {1: run(6), 2: run(6, total=11)})
    with pytest.raises(DataError, match="'pass_at_4'"):
        compare_seeds(good, good, metrics=("pass_at_4",))


def test_forgetting_by_family() -> None:
    end, start = run(6), run(4)
    start[0], end[0] = end[0], run(0)[0]  # item s0 is forgotten
    found = changes_since(end, start)
    assert [change.group for change in found] == [{"family": "even"}, {"family": "odd"}]
    even, odd = (change.comparison for change in found)
    assert (even.wins, even.losses) == (("s4",), ("s0",))
    assert (odd.wins, odd.losses) == (("s5",), ())
    assert even.difference == pytest.approx(0.0) and odd.difference == pytest.approx(0.2)
    with pytest.raises(ConfigError, match="did you mean 'family'"):
        changes_since(end, start, by=("familiy",))
