"""The confirming study is what its registration says, and its rates are what the tuning chose."""

import re
from pathlib import Path

from ekipl_lab.evaluation import find_metric
from ekipl_lab.studies.config import load_study
from ekipl_lab.studies.plan import plan_cell, study_folder
from ekipl_lab.studies.record import read_record
from perf import claims

ROOT = Path(__file__).resolve().parents[2]
CONFIRM = load_study(ROOT / "configs/studies/counting_confirm.yaml")
TUNE = load_study(ROOT / "configs/studies/counting_tune.yaml")
TEXT = (ROOT / "docs" / "preregistration.md").read_text(encoding="utf-8")


def test_the_contrasts_of_the_study_are_the_registered_ones_in_their_order():
    rows = [
        tuple(cell.strip() for cell in row)
        for row in re.findall(r"^\| \d+ \|(.*)\|(.*)\|(.*)\|(.*)\|(.*)\|$", TEXT, re.MULTILINE)
    ]
    assert len(rows) == 12
    assert rows == [
        (one.arm, one.expected, one.against, find_metric(one.metric).title,
         one.set if one.group == "all" else f"{one.set}, {one.group}")
        for one in CONFIRM.registered
    ]  # fmt: skip


def test_seeds_items_and_arms_are_the_registered_ones():
    assert CONFIRM.seeds == tuple(range(100, 108)) and TUNE.seeds == (7,)
    arms = re.findall(r"^\| `(\w+)`.*\| [\d,]+ \| [\d,]+ \|$", TEXT, re.MULTILINE)
    assert sorted(arms) == sorted(CONFIRM.arms)
    sets = plan_cell(CONFIRM, "counting", "grpo", 100).base.evaluation.sets
    assert [(one.split, one.seed, one.limit) for one in sets] == [
        ("test", 31, 200), ("test_ood", 31, 120)
    ]  # fmt: skip
    (tuned,) = plan_cell(TUNE, "counting", "grpo_mid", 7).base.evaluation.sets
    assert (tuned.split, tuned.seed, tuned.limit) == ("validation", 11, 160)


def best(arm: str) -> str:
    """low, mid or high: the best mean of greedy accuracy and pass@8; of equal ones the lower."""
    values = {}
    for rate in ("low", "mid", "high"):
        cells = study_folder(TUNE) / "cells"
        found = read_record(cells / f"counting_tune-counting-{arm}_{rate}-s7.json")
        assert found is not None, f"{arm}_{rate} has no record"
        final = found.raw["final"]["validation"]["all"]
        values[rate] = (final["accuracy_greedy"] + final["pass_at_8"]) / 2
    return max(values, key=lambda rate: (round(values[rate], 6), -list(values).index(rate)))


def test_every_arm_has_the_rate_that_the_tuning_chose():
    rates = {"low": 1e-4, "mid": 2e-4, "high": 4e-4}
    for arm in ("grpo", "grpo_more", "paper", "sft_then_grpo", "sft_then_paper"):
        step = plan_cell(CONFIRM, "counting", arm, 100).steps[-1]
        chosen = best("grpo" if arm == "grpo_more" else arm)
        assert step.config.grpo_settings["learning_rate"] == rates[chosen], arm
    (alone,) = plan_cell(CONFIRM, "counting", "sft_actions", 100).steps
    assert alone.sft is not None
    assert alone.sft.matrix_lr == 0.006 * {"low": 0.5, "mid": 1, "high": 2}[best("sft_actions")]


def test_the_table_of_claims_is_that_of_the_records():
    """Records, page and table agree; every registered contrast stands under a claim."""
    assert claims.BEGIN + "\n" + claims.table() + "\n" + claims.END in claims.DOC.read_text("utf-8")
    named = sorted(number for numbers in claims.CLAIMS.values() for number in numbers)
    assert named == list(range(1, len(load_study(claims.STUDY).registered) + 1))
