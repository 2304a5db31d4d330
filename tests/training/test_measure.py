"""What a run logs of its evaluations: totals, and each family over all of its items."""

from dataclasses import replace

import pytest
from paths import ROOT
from synthetic_runs import player

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.evaluation import evaluate, write_records
from ekipl_lab.rewards import get_scorer
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.evaluator import Evaluator, measured_of, metric_parts
from ekipl_lab.training.setup import RunSetup

CONFIG = ROOT / "configs" / "demo_grpo.yaml"


def evaluator_of(folder, overrides, samples):
    """Of a run in ``folder`` whose policy is never asked: its records are there already."""
    config = load_config(CONFIG, overrides)
    plan = plan_run(config)
    setup = RunSetup(check_run(config, folder), plan, [], {"test": samples}, [], None)
    return Evaluator(measured_of(setup), None)


def test_a_familys_metric_is_over_all_its_items_not_over_its_hardest_level(tmp_path):
    samples = load_samples(
        "mini", task="counting", split="test", families=["remove", "compare"], limit=60
    )
    scorer = get_scorer("ekipl/auto")
    records = evaluate(player("policy", 0.5), samples, scorer, mode="greedy")
    records += evaluate(player("policy", 0.5), samples, scorer, mode="sampled", num_samples=4)
    write_records(tmp_path / "evaluation" / "test" / "step-000000.parquet", records)
    metrics = evaluator_of(tmp_path, ["evaluation.ks=[1, 4]"], samples).run(
        0, lambda part, done, total: None
    )

    def share(family, mode, levels=(1, 2, 3)):
        draws = [
            reward.success
            for record in records
            if record.family in family and record.mode == mode and record.difficulty in levels
            for reward in record.rewards
        ]
        return sum(draws) / len(draws)

    assert len({record.difficulty for record in records}) == 3
    for family in ("remove", "compare"):
        greedy = metrics[f"eval/test/{family}/accuracy_greedy"]
        assert greedy == share([family], "greedy") != share([family], "greedy", (3,))
        assert metrics[f"eval/test/{family}/pass_at_1"] == pytest.approx(share([family], "sampled"))
    both = ["remove", "compare"]
    assert metrics["eval/test/accuracy_greedy"] == share(both, "greedy")
    assert metrics["eval/test/pass_at_1"] == pytest.approx(share(both, "sampled"))


def test_families_with_odd_names_keep_a_metric_each():
    # three signs that no metric's name may have; a family without any name has no metric
    assert metric_parts(["2D/area", "2D_area", "", "2D/area", "2D:area"]) == {
        "2D/area": "2D_area", "2D:area": "2D_area-2", "2D_area": "2D_area-3",
    }  # fmt: skip
    assert metric_parts(["all"]) == {"all": "all"}


def test_a_family_called_all_is_not_the_total(tmp_path):
    first, second = load_samples(
        "mini", task="counting", split="test", families=["remove", "compare"], limit=2
    )
    scorer, samples = get_scorer("ekipl/auto"), [replace(first, family="all"), second]
    records = evaluate(player("policy", 1.0), samples[:1], scorer, mode="greedy")
    records += evaluate(player("policy", 0.0), samples[1:], scorer, mode="greedy")
    write_records(tmp_path / "evaluation" / "test" / "step-000000.parquet", records)
    metrics = evaluator_of(tmp_path, ["evaluation.ks=[1]"], samples).run(
        0, lambda part, done, total: None
    )
    shown = {name: metrics[f"eval/test/{name}accuracy_greedy"] for name in ("", "all/", "compare/")}
    assert shown == {"": 0.5, "all/": 1.0, "compare/": 0.0}
