"""The confirming study is what its registration says, and its rates are what the tuning chose."""

import json
import re
from pathlib import Path

import pytest

from ekipl_lab.evaluation import find_metric
from ekipl_lab.studies.config import load_study
from ekipl_lab.studies.plan import plan_cell, study_folder
from ekipl_lab.studies.record import read_record
from perf import claims, outside

ROOT = Path(__file__).resolve().parents[2]
CONFIRM = load_study(ROOT / "configs/studies/counting_confirm.yaml")
TUNE = load_study(ROOT / "configs/studies/counting_tune.yaml")
RECIPE = load_study(ROOT / "configs/studies/counting_recipe.yaml")
RECIPE_TUNE = load_study(ROOT / "configs/studies/counting_recipe_tune.yaml")
AFTER = load_study(ROOT / "configs/studies/counting_after.yaml")
AFTER_TUNE = load_study(ROOT / "configs/studies/counting_after_tune.yaml")
REPEAT = load_study(ROOT / "configs/studies/counting_repeat.yaml")
AGAIN = load_study(ROOT / "configs/studies/counting_again.yaml")
EDGE = load_study(ROOT / "configs/studies/counting_edge_tune.yaml")
WARM = load_study(ROOT / "configs/studies/counting_warm.yaml")
WARM_TUNE = load_study(ROOT / "configs/studies/counting_warm_tune.yaml")
GEOMETRY = load_study(ROOT / "configs/studies/geometry_confirm.yaml")
GEOMETRY_TUNE = load_study(ROOT / "configs/studies/geometry_tune.yaml")
TEXT = (ROOT / "docs" / "preregistration.md").read_text(encoding="utf-8")


def registered(name: str) -> str:
    """What the page says of a study."""
    return TEXT.partition(f"## Study `{name}`")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("study", "count"),
    [(CONFIRM, 12), (RECIPE, 5), (AFTER, 7), (REPEAT, 20), (AGAIN, 14), (GEOMETRY, 15), (WARM, 9)],
    ids=lambda x: str(x)[:20],
)
def test_the_contrasts_of_a_study_are_the_registered_ones_in_their_order(study, count):
    text = registered(study.name)
    if study is REPEAT:  # nine were added, and say so
        text += TEXT.partition("**29 November 2026, `counting_repeat`")[2]
    rows = [
        tuple(cell.strip() for cell in row)
        for row in re.findall(r"^\| \d+ \|(.*)\|(.*)\|(.*)\|(.*)\|(.*)\|$", text, re.MULTILINE)
    ]
    assert len(rows) == count
    assert rows == [
        (one.arm, one.expected, one.against, find_metric(one.metric).title,
         one.set if one.group == "all" else f"{one.set}, {one.group}")
        for one in study.registered
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("study", "tune", "seeds", "items"),
    [
        (CONFIRM, TUNE, range(100, 108), 31),
        (RECIPE, RECIPE_TUNE, range(110, 118), 33),
        (AFTER, AFTER_TUNE, range(120, 128), 35),
    ],
    ids=["confirm", "recipe", "after"],
)
def test_seeds_items_and_arms_are_the_registered_ones(study, tune, seeds, items):
    assert study.seeds == tuple(seeds) and tune.seeds == (7,)
    text = registered(study.name)
    arms = re.findall(r"^\| `(\w+)`.*\| [\d,]+ \| [\d,]+ \|$", text, re.MULTILINE)
    assert sorted(arms) == sorted(study.arms)
    sets = plan_cell(study, "counting", arms[-1], seeds[0]).base.evaluation.sets
    assert [(one.split, one.seed, one.limit) for one in sets] == [
        ("test", items, 200), ("test_ood", items, 120)
    ]  # fmt: skip
    (tuned,) = plan_cell(tune, "counting", next(iter(tune.arms)), 7).base.evaluation.sets
    assert (tuned.split, tuned.seed, tuned.limit) == ("validation", 11, 160)


def best(arm: str, tune=TUNE, rates=("low", "mid", "high"), beyond=None) -> str:
    """The rate with the best mean of greedy accuracy and pass@8; of equal ones the lower.

    ``beyond``: a study with further rates, and their names.
    """
    values = {}
    further, names = beyond or (tune, ())
    for study, rate in [(tune, one) for one in rates] + [(further, one) for one in names]:
        (task,) = study.tasks
        cells = study_folder(study) / "cells"
        found = read_record(cells / f"{study.name}-{task}-{arm}_{rate}-s7.json")
        assert found is not None, f"{arm}_{rate} has no record"
        final = found.raw["final"]["validation"]["all"]
        values[rate] = (final["accuracy_greedy"] + final["pass_at_8"]) / 2
    return max(values, key=lambda rate: (round(values[rate], 6), -list(values).index(rate)))


RATES = {
    "lower": 5e-5,
    "low": 1e-4,
    "mid": 2e-4,
    "high": 4e-4,
    "higher": 8e-4,
    "highest": 1.6e-3,
    "top": 3.2e-3,
}
TIMES = {"low": 0.5, "mid": 1, "high": 2, "higher": 4}  # of 0.006


def test_what_was_confirmed_again_has_the_rates_beyond_which_it_gets_worse():
    three = ("low", "mid", "high")
    again = {
        "grpo": best("grpo", beyond=(EDGE, ("lower",))),
        "paper": best("paper", beyond=(EDGE, ("higher", "highest", "top"))),
        "sft_actions": best("sft_actions", beyond=(EDGE, ("higher",))),
    }
    geometry = {
        "grpo": best("grpo", GEOMETRY_TUNE),
        "paper": best("paper", GEOMETRY_TUNE, (*three, "higher", "highest")),
        "sft_actions": best("sft_actions", GEOMETRY_TUNE, (*three, "higher")),
        "sft_averaged": best("sft_averaged", GEOMETRY_TUNE),
    }
    for study, arms in ((AGAIN, again), (GEOMETRY, geometry)):
        (task,) = study.tasks
        for arm, rate in arms.items():
            (step,) = plan_cell(study, task, arm, study.seeds[0]).steps
            if step.sft is None:
                assert step.config.grpo_settings["learning_rate"] == RATES[rate], (study.name, arm)
            else:
                assert step.sft.matrix_lr == 0.006 * TIMES[rate], (study.name, arm)


@pytest.mark.parametrize(
    ("study", "seeds", "items", "counts"),
    [
        (AGAIN, range(150, 158), 43, (200, 120)),
        (GEOMETRY, range(140, 148), 41, (200, 100)),
        (WARM, range(160, 168), 45, (200, 120)),
    ],
    ids=["again", "geometry", "warm"],
)
def test_what_was_confirmed_again_has_its_registered_seeds_and_items(study, seeds, items, counts):
    text = registered(study.name)
    assert study.seeds == tuple(seeds) and f"{seeds[0]} to {seeds[-1]}" in text
    assert all(f"`{arm}`" in text for arm in study.arms)
    (task,) = study.tasks
    sets = plan_cell(study, task, study.baseline, seeds[0]).base.evaluation.sets
    assert [(one.split, one.seed, one.limit) for one in sets] == [
        ("test", items, counts[0]), ("test_ood", items, counts[1])
    ]  # fmt: skip
    assert f"{counts[0]} test items" in text and f"{counts[1]} of test_ood" in text


def test_every_arm_has_the_rate_that_the_tuning_chose():
    rates = {"low": 1e-4, "mid": 2e-4, "high": 4e-4}
    for arm in ("grpo", "grpo_more", "paper", "sft_then_grpo", "sft_then_paper"):
        step = plan_cell(CONFIRM, "counting", arm, 100).steps[-1]
        chosen = best("grpo" if arm == "grpo_more" else arm)
        assert step.config.grpo_settings["learning_rate"] == rates[chosen], arm
    (alone,) = plan_cell(CONFIRM, "counting", "sft_actions", 100).steps
    assert alone.sft is not None
    assert alone.sft.matrix_lr == 0.006 * {"low": 0.5, "mid": 1, "high": 2}[best("sft_actions")]


def test_more_supervised_steps_have_the_rate_that_their_tuning_chose():
    chosen = best("sft_twice", RECIPE_TUNE, ("mid", "high", "highest"))
    (twice,) = plan_cell(RECIPE, "counting", "sft_twice", 110).steps
    assert twice.sft is not None and twice.sft.actions == 5120
    assert twice.sft.matrix_lr == 0.006 * {"mid": 1, "high": 2, "highest": 4}[chosen]
    assert twice.sft.rest_lr == twice.sft.matrix_lr / 4
    for arm in ("sft_actions", "sft_then_paper"):
        ours = plan_cell(RECIPE, "counting", arm, 110).steps
        theirs = plan_cell(CONFIRM, "counting", arm, 100).steps
        assert [step.sft for step in ours] == [step.sft for step in theirs]
        rates = [
            [step.config.grpo_settings["learning_rate"] for step in steps]
            for steps in (ours, theirs)
        ]
        assert rates[0] == rates[1]


def test_the_arms_after_enough_supervised_steps_have_the_rates_that_their_tuning_chose():
    steps = {arm: plan_cell(AFTER, "counting", arm, 120).steps for arm in AFTER.arms}
    rates = {"grpo": {"low": 5e-5, "mid": 1e-4, "high": 2e-4},
             "paper": {"low": 1e-4, "mid": 2e-4, "high": 4e-4}}  # fmt: skip
    (twice,) = plan_cell(RECIPE, "counting", "sft_twice", 110).steps
    assert steps["sft_twice"][0].sft == twice.sft
    for arm, tried in rates.items():
        first, last = steps[f"sft_twice_then_{arm}"]
        assert first.sft == twice.sft
        assert last.config.grpo_settings["learning_rate"] == tried[best(arm, AFTER_TUNE)]
    thrice = steps["sft_thrice"][0].sft
    assert thrice is not None and thrice.actions == 7680
    chosen = best("sft_thrice", AFTER_TUNE, ("mid", "high", "highest"))
    assert thrice.matrix_lr == 0.006 * {"mid": 1, "high": 2, "highest": 4}[chosen]


def test_second_stages_have_the_rates_that_their_tuning_chose_after_the_best_first_one():
    chosen = {
        "paper": best("paper", WARM_TUNE, ("mid", "high", "higher", "highest")),
        "grpo": best("grpo", WARM_TUNE, ("lower", "low", "mid", "high")),
    }
    for arm, rate in chosen.items():
        first, last = plan_cell(WARM, "counting", f"sft_then_{arm}", 160).steps
        assert first.sft is not None and first.sft.matrix_lr == 0.006 * TIMES[best("sft_actions")]
        assert last.config.grpo_settings["learning_rate"] == RATES[rate]
    for arm, study in (("sft_twice", RECIPE), ("sft_averaged", AGAIN)):
        (ours,) = plan_cell(WARM, "counting", arm, 160).steps
        (theirs,) = plan_cell(study, "counting", arm, study.seeds[0]).steps
        assert ours.sft == theirs.sft


def test_the_tables_of_claims_are_those_of_the_records():
    """Records, page and tables agree; every registered contrast stands under a claim."""
    page = claims.DOC.read_text("utf-8")
    for name, table in claims.TABLES.items():
        begin, end = claims.marks(name)
        assert f"{begin}\n{table()}\n{end}" in page, name
    for path in claims.STUDIES.glob("*.yaml"):
        if "\nregistered:" not in path.read_text("utf-8"):
            continue
        count = len(load_study(path).registered)
        found = [n for studies in claims.CLAIMS.values() for n in studies.get(path.stem, ())]
        assert sorted(found) == list(range(1, count + 1)), path.stem


@pytest.mark.parametrize(
    ("record", "mark", "table"),
    [
        ("outside.json", "outside", outside.table),
        ("outside_again.json", "outside again", outside.by_arm),
    ],
)
def test_the_tables_of_questions_from_outside_are_those_of_the_records(record, mark, table):
    begin, end = claims.marks(mark)
    shown = (ROOT / "docs" / "outside.md").read_text("utf-8").partition(begin)[2].partition(end)[0]
    assert shown.strip() == table(json.loads((ROOT / "results" / record).read_text("utf-8")))
