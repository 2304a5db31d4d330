"""Evaluations as figures and tables, against values worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from PIL import Image

import ekipl_lab as ek
from ekipl_lab.errors import DataError
from ekipl_lab.plots.bars import dots
from ekipl_lab.plots.figures import Point
from ekipl_lab.statistics import holm, mcnemar_exact, wilson
from ekipl_lab.types import POLICY, Action, EvalRecord, RewardBreakdown, Sample


def measured(rights: Sequence[Sequence[bool]], families: str, mode: str) -> ek.Evaluation:
    """One record for each item; ``families`` has a letter for each."""
    records = []
    for number, (right, family) in enumerate(zip(rights, families, strict=True)):
        rewards = [RewardBreakdown({"accuracy": float(r)}, {"accuracy": 1.0}, r) for r in right]
        actions = tuple(Action(f"<b>{r}</b>", POLICY, "m") for r in right)
        records.append(
            EvalRecord(f"i{number}", "t", "validation", family, 1, "m", mode, actions,
                       tuple(rewards))
        )  # fmt: skip
    return ek.Evaluation(tuple(records))


def greedy(signs: str, families: str) -> ek.Evaluation:
    return measured([[sign == "1"] for sign in signs], families, "greedy")


def test_differences_by_family_are_paired_and_adjusted_over_the_families() -> None:
    families = "a" * 8 + "b" * 8
    better = greedy("11111111" + "11110000", families)
    worse = greedy("00000011" + "11101000", families)
    table = ek.by_group(better, worse)
    assert list(table.index) == ["a", "b"] and list(table["items"]) == [8, 8]
    assert (table.loc["a", "A"], table.loc["a", "B"], table.loc["a", "A - B"]) == (1, 0.25, 0.75)
    assert (table.loc["a", "won"], table.loc["a", "lost"]) == (6, 0)
    assert (table.loc["b", "won"], table.loc["b", "lost"]) == (1, 1)
    plain = [mcnemar_exact(6, 0), mcnemar_exact(1, 1)]  # 2 / 2^6, and 1
    assert plain[0] == 0.03125 and table.loc["a", "p"] == 0.031
    assert table.loc["a", "p, Holm"] == round(holm(plain)[0], 3) == 0.062
    sampled = measured([[True, False]] * 4, "abab", "sampled")
    assert "p" not in ek.by_group(sampled, sampled)  # of sampled shares there is no such test
    with pytest.raises(DataError):
        ek.by_group(better, greedy("1" * 8, "a" * 8))


def test_three_estimators_of_pass_at_2() -> None:
    """Items with 2 and 1 of 4 right: 1 - C(2,2)/C(4,2) = 5/6 and 1 - C(3,2)/C(4,2) = 1/2."""
    found = measured([[False, False, True, True], [True, False, False, False]], "ab", "sampled")
    row = ek.estimators(found, [2]).loc[2]
    assert row["unbiased"] == pytest.approx((5 / 6 + 1 / 2) / 2, abs=1e-3)
    assert row["one of the first k"] == 0.5
    assert row["1 - (1 - c/n)^k"] == pytest.approx((3 / 4 + 7 / 16) / 2, abs=1e-3)


def test_groups_are_counted_by_right_answers_and_the_most_even_come_first() -> None:
    rights = [[True] * 4, [False] * 4, [True, False, False, False], [True, True, False, False]]
    found = measured(rights, "aabb", "sampled")
    table = ek.right_answers(found)
    assert table.loc["a"].tolist() == [1, 0, 0, 0, 1]
    assert table.loc["b"].tolist() == [0, 1, 1, 0, 0]
    samples = [
        Sample(f"i{i}", "t", "train", (Image.new("RGB", (8, 8)),), "?", "1", "number")
        for i in range(4)
    ]
    groups = ek.mixed_groups(samples, found)
    assert [group.sample.id for group in groups] == ["i3", "i2"]
    assert groups[0].rule == "policy_only" and len(groups[0].kept) == 4
    assert sum(groups[0].advantages) == pytest.approx(0, abs=1e-6)


def test_arms_are_compared_over_seeds() -> None:
    """Differences of 2, 3 and 4 of 10 items: mean 0.3, standard deviation 0.1, t(2) 4.303."""
    families = "a" * 10
    base = {seed: greedy("1" * 4 + "0" * 6, families) for seed in (0, 1, 2)}
    arm = {seed: greedy("1" * (6 + seed) + "0" * (4 - seed), families) for seed in (0, 1, 2)}
    column = ek.compare_arms(arm, base)["accuracy_greedy"]
    assert [column[f"seed {seed}"] for seed in (0, 1, 2)] == [0.2, 0.3, 0.4]
    assert column["A - B"] == 0.3 and column["p"] == column["p, Holm"]
    assert column["from"] == pytest.approx(0.3 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    same = ek.compare_arms(base, base)["accuracy_greedy"]
    assert same["A - B"] == 0 and same["p"] == ""  # no spread: no test, and no number


def test_dots_stand_at_the_values_with_their_intervals_and_text_is_escaped() -> None:
    found = greedy("1101", "aabb")
    figure = ek.plot_metrics({"<i>one": found, "two": found}, ["accuracy_greedy"], title="<b>t")
    first, second = figure.data
    assert first.name == "&lt;i&gt;one" and figure.layout.title.text == "&lt;b&gt;t"
    assert list(first.y) == [1.0, 0.5] and list(figure.layout.xaxis.ticktext) == ["a", "b"]
    assert first.x[0] < 0 < second.x[0]  # side by side
    assert first.error_y.arrayminus[1] == pytest.approx(0.5 - wilson(1, 2).low)


def test_figures_of_pass_at_k_widths_and_power() -> None:
    found = measured([[True, False, False, False]], "a", "sampled")
    (line,) = [t for t in ek.plot_pass_at_k({"m": found}, [1, 2, 4]).data if t.mode != "lines"]
    assert list(line.x) == [1, 2, 4] and list(line.y) == [0.25, 0.5, 1.0]
    widths = ek.plot_widths([0.5], [100, 400]).data[-1]
    interval = wilson(50, 100)
    assert widths.y[0] == pytest.approx((interval.high - interval.low) / 2)
    assert widths.y[1] == pytest.approx(widths.y[0] / 2, rel=0.03)  # four times the items
    power = ek.plot_power(0.03, [0.01], [2, 3, 10]).data[-1]
    assert power.y[0] < power.y[1] < power.y[2] and power.y[2] > 0.99


def test_pilots_are_those_of_the_file() -> None:
    table = ek.pilots("grpo_pilots")
    long = table[(table.pilot == "open") & (table.settings == "grpo.max_steps=200")]
    rows = long[(long.family == "count_material") & (long.metric == "sampled")]
    assert list(rows["end"]) == [0.4637, 0.5131, 0.45] and list(rows.seed) == [0, 1, 2]
    # changes of 0.128, 0.177 and 0.114: mean 0.1397, sd 0.0331, t(2) 4.303
    over = ek.over_seeds(long).loc[("count_material", True, "sampled")]
    assert (over["change"], over["seeds"]) == (0.14, 3)
    assert over["from"] == pytest.approx(0.1397 - 4.303 * 0.0331 / 3**0.5, abs=1e-3)
    figure = ek.plot_pilot(long, "greedy")
    assert [trace.name for trace in figure.data] == ["start", *(f"end, seed {s}" for s in range(3))]
    assert figure.data[0].error_y.array[0] > 0  # greedy shares have intervals
    assert set(ek.plot_pilot(long, "sampled").data[0].error_y.array) == {0}


def test_dots_of_many_series_stay_with_their_name() -> None:
    names = {"all": Point(0, 0.5), "compare": Point(0, 0.4)}
    for number in (1, 7, 12):
        figure = dots({str(one): names for one in range(number)}, title="", y_title="")
        assert {round(x) for trace in figure.data for x in trace.x[:1]} == {0}
        assert {round(x) for trace in figure.data for x in trace.x[1:]} == {1}
