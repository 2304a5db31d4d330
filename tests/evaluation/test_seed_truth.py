"""What numbers over seeds and slices may claim: equal seeds, unscorable items, tiny families."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_report import record, run_of

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import compare, compare_seeds, try_compare_seeds
from ekipl_lab.evaluation.slices import changes_since
from ekipl_lab.report import RunData
from ekipl_lab.report.arms import Arm, arms_of
from ekipl_lab.report.export import as_csv
from ekipl_lab.report.seeds import compare_arms, over_seeds, power, slices_over_seeds
from ekipl_lab.statistics import equal_up_to_rounding, paired_t, paired_t_pvalue, spread
from ekipl_lab.types import EvalRecord

#: 3 of 60 items more at every seed: 20/60 - 17/60 and 31/60 - 28/60 differ in their last digits.
RIGHT = [(20, 17), (31, 28), (40, 37)]
SAME = [a / 60 - b / 60 for a, b in RIGHT]
#: Of ten items, outcomes of the base at three seeds: the first five right, at the last seed four.
BASE = [[True] * right + [False] * (10 - right) for right in (5, 5, 4)]


def of_outcomes(outcomes: list[bool | None], mode: str = "greedy") -> list[EvalRecord]:
    return [record(i, [outcome], mode) for i, outcome in enumerate(outcomes)]


def samples_of(outcomes: list[list[bool | None]]) -> list[EvalRecord]:
    return [record(i, several, "sampled") for i, several in enumerate(outcomes)]


def arm_runs(label: str, ends: list[list[EvalRecord]]) -> list[RunData]:
    runs = []
    for seed, end in enumerate(ends):
        run = run_of(f"{label}-s{seed}", s10=end)
        runs.append(replace(run, config={**run.config, "seed": seed, "arm": label}))
    return runs


def arms_with(base: list[list[EvalRecord]], arm: list[list[EvalRecord]]) -> list[Arm]:
    return arms_of([*arm_runs("g", base), *arm_runs("e", arm)])


def test_rounding_is_not_spread() -> None:
    assert len(set(SAME)) > 1  # the noise that the test is about
    assert equal_up_to_rounding(SAME) and equal_up_to_rounding([0.1] * 3)
    assert spread(SAME) == spread([0.1] * 3) == 0.0
    # Relative to large values: lengths of 1e4 tokens carry noise of about 1e-12.
    assert equal_up_to_rounding([1e4, 1e4 + 2e-12])
    # One item of 100,000 is a difference.
    assert not equal_up_to_rounding([0.1, 0.10001])
    assert spread([0.0, 2.0]) == pytest.approx(2**0.5)
    interval = paired_t(SAME)
    assert interval.low == interval.value == interval.high == pytest.approx(0.05)
    with pytest.raises(ConfigError, match="same difference"):
        paired_t_pvalue(SAME)


def test_equal_seeds_are_no_evidence_on_the_page() -> None:
    ends = [[of_outcomes([i < c for i in range(60)]) for c in counts] for counts in zip(*RIGHT)]  # noqa: B905
    arm, base = ends
    (found,) = compare_seeds(dict(enumerate(arm)), dict(enumerate(base)))
    assert found.p_value is None and found.p_holm is None
    arms = arms_with(base, arm)
    cell = over_seeds(arms).rows[1][5]
    assert (cell.text, cell.small) == ("+5.0", "the same at every seed")
    (row,) = power(arms).rows
    assert [cell.text for cell in row[1:]] == ["0.0", "–", "–", "–", "–"]
    small = slices_over_seeds(arms, "difficulty").rows[1][-1].small
    assert small.startswith("the same at all 3 seeds; [") and "Holm" not in small


def test_only_items_scored_in_both_are_compared() -> None:
    """Arm: 5 right, 5 without a score. On the five: 5, 5, 5 against 5, 5, 4; 0, 0, 0.2."""
    arm: list[bool | None] = [True] * 5 + [None] * 5
    a = {seed: of_outcomes(arm) for seed in range(3)}
    b = {seed: of_outcomes(outcomes) for seed, outcomes in enumerate(BASE)}  # type: ignore[arg-type]
    (found,) = compare_seeds(a, b)
    assert found.differences == pytest.approx((0.0, 0.0, 0.2))
    assert [found.value_a, found.value_b] == pytest.approx([1.0, 2.8 / 3])
    assert (found.items, found.total) == ((5, 5, 5), 10)
    # error 1/15, t = 1: two-sided p with 2 degrees = 1 - 1/sqrt(3) = 0.42265
    assert found.p_value == pytest.approx(1 - 3**-0.5, rel=1e-6)
    for seed in (0, 2):  # as the paired comparison of the items scored in both says
        assert compare(a[seed][:5], b[seed][:5]).difference == pytest.approx(
            found.differences[seed]
        )
    (mirrored,) = compare_seeds(b, a)
    assert mirrored.difference == pytest.approx(-found.difference)
    _, row = over_seeds(arms_with(list(b.values()), list(a.values()))).rows
    assert [cell.text for cell in row[3:6]] == ["93.3", "100.0", "+6.7"]
    assert row[5].small.endswith("; 5 of 10 items scored in both")


def test_the_items_of_every_seed_are_its_own() -> None:
    """At seed 1 the base lacks item 0, at seed 2 the arm lacks 1 and 2: of 4, 4, 3 and 2 items."""
    a = {0: [True] * 4, 1: [True] * 4, 2: [True, None, None, True]}
    b = {0: [True, True, False, False], 1: [None, True, False, False], 2: [True, True, True, False]}
    (found,) = compare_seeds(
        {s: of_outcomes(o) for s, o in a.items()},  # type: ignore[arg-type]
        {s: of_outcomes(o) for s, o in b.items()},  # type: ignore[arg-type]
    )
    assert (found.items, found.total) == ((4, 3, 2), 4)
    assert found.differences == pytest.approx((1 / 2, 2 / 3, 1 / 2))


def test_pass_at_k_needs_k_scored_samples_in_both() -> None:
    """pass@2 of 1, 0 is 1, of 0, 0 is 0; item 1 has one scored sample in the arm: left out."""
    arm = samples_of([[True, False], [True, None], [False, False]])
    base = samples_of([[False, False], [False, False], [False, False]])
    first, second = {0: arm, 1: arm}, {0: base, 1: base}
    at_two, at_one = compare_seeds(first, second, ["pass_at_2", "pass_at_1"])
    assert (at_two.items, at_two.total, at_one.items) == ((2, 2), 3, (3, 3))
    assert at_two.difference == pytest.approx((1 + 0) / 2)
    assert at_one.difference == pytest.approx((0.5 + 1 + 0) / 3)
    # How many actions had no score is a metric of all of them: 1 of 6.
    (unscorable,) = compare_seeds(first, second, ["unscorable_sampled"])
    assert unscorable.items == (3, 3) and unscorable.difference == pytest.approx(0.5 / 3)


def test_nothing_scored_in_both_is_told() -> None:
    scored, none = of_outcomes([True, False]), of_outcomes([None, None])
    crossed = (of_outcomes([True, None]), of_outcomes([None, True]))
    with pytest.raises(DataError, match="At seed 1 no item has a score for accuracy_greedy in"):
        compare_seeds({0: scored, 1: crossed[0]}, {0: scored, 1: crossed[1]})
    with pytest.raises(DataError, match="At seed 0 no item"):
        compare_seeds({0: none, 1: none}, {0: scored, 1: scored})
    with pytest.raises(DataError, match="No run has the metric 'accuracy_greedy'"):
        compare_seeds({0: none, 1: none}, {0: none, 1: none})
    _, row = over_seeds(arms_with([scored, scored], [scored, none])).rows
    assert row[5].text == "–" and row[-1].text.startswith("At seed 1 no item has a score")


def test_a_group_without_a_score_leaves_the_others() -> None:
    """Odd items have no score in the arm at seed 1; even ones: 1 of 3, then 2 of 3, against 0."""
    base = [of_outcomes([False] * 6)] * 2
    arm = [
        of_outcomes([True, False, False, False, False, False]),
        of_outcomes([True, None, True, None, False, None]),
    ]
    found, failed = try_compare_seeds(
        dict(enumerate(arm)), dict(enumerate(base)), ["accuracy_greedy"], by=("family",)
    )
    assert [one.group for one in found] == [{"family": "even"}]
    assert found[0].differences == pytest.approx((1 / 3, 2 / 3))
    assert found[0].p_holm == found[0].p_value  # corrected over those that were compared
    assert [one.group for one in failed] == [{"family": "odd"}]
    assert failed[0].why == (
        "At seed 1 no item of family odd has a score for accuracy_greedy in both methods."
    )
    arms = arms_with(base, arm)
    _, even, odd = slices_over_seeds(arms, "family").rows
    assert [cell.text for cell in even] == ["even", "e", "3", "–", "0.0", "50.0", "+50.0"]
    assert [cell.text for cell in odd] == ["odd", "e", "–", "–", "–", "–", "–"]
    assert odd[-1].small == "no item scored in both at seed 1"
    compared = [row.result for row in compare_arms(arms, "family") if row.result is not None]
    assert [one.group for one in compared] == [{"family": "even"}]
    runs = [run for one in arms for run in one.runs.values()]
    assert "family=even,accuracy_greedy,0.5," in as_csv(runs)


@pytest.mark.parametrize(
    ("items", "verdict"),
    [(2, "open"), (3, "open"), (5, "open"), (6, "forgotten")],  # McNemar: 2 / 2^n, at six 0.03125
)
def test_a_tiny_family_that_was_lost_is_open(items: int, verdict: str) -> None:
    right, wrong = of_outcomes([True] * items), of_outcomes([False] * items)
    (change,) = changes_since(wrong, right, ("difficulty",))
    assert change.comparison.low == change.comparison.high == -1.0
    assert change.comparison.p_value == pytest.approx(2 / 2**items)
    assert change.verdict == verdict
    (back,) = changes_since(right, wrong, ("difficulty",))
    assert back.verdict == ("gained" if verdict == "forgotten" else "open")


@pytest.mark.parametrize(
    ("items", "verdict"),
    [
        (2, "open"),
        (6, "open"),  # t(5)^2 = 6.61: Wilson's upper limit of 0 of 6 is 6.61 / 12.61 > 1/2
        (7, "forgotten"),  # t(6)^2 = 5.99: 5.99 / 12.99 < 1/2
    ],
)
def test_sampled_items_that_all_changed_alike(items: int, verdict: str) -> None:
    right = samples_of([[True, True]] * items)
    wrong = samples_of([[False, False]] * items)
    (change,) = changes_since(wrong, right, ("difficulty",))
    assert change.comparison.p_value is None and change.verdict == verdict
    (same,) = changes_since(right, right, ("difficulty",))
    assert same.verdict == "open"


def test_a_loss_below_half_is_lost() -> None:
    """One of 4 samples of every item was right, none is now: -0.25 throughout."""
    start = samples_of([[True, False, False, False]] * 40)
    (change,) = changes_since(samples_of([[False] * 4] * 40), start, ("difficulty",))
    # Share (1 - 0.25) / 2 = 0.375 of 40 items, t(39) = 2.0227: Wilson 0.387 +- 0.148 holds 1/2.
    assert change.comparison.difference == -0.25 and change.verdict == "open"
    wide = samples_of([[True, False, False, False]] * 100)
    (change,) = changes_since(samples_of([[False] * 4] * 100), wide, ("difficulty",))
    assert change.verdict == "lost"  # t(99) = 1.9842: 0.380 +- 0.094
