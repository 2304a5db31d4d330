"""perf/demo_rate.py: the demo's rate is the one that its record chose, from today's start."""

import importlib.util
import json

import pytest
from paths import ROOT

from ekipl_lab.training.config.run_config import load_config


@pytest.fixture(scope="module")
def rates():
    spec = importlib.util.spec_from_file_location("demo_rate", ROOT / "perf" / "demo_rate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record(rates):
    return json.loads(rates.OUT.read_text(encoding="utf-8"))


def test_every_cell_was_run_from_the_shipped_warm_start_with_the_demos_settings(rates, record):
    assert record["origin"] == rates.origin()
    assert sorted(record["cells"]) == sorted(cell.name for cell in rates.cells())


def test_both_arms_take_the_rate_that_did_best_on_validation(rates, record):
    found = {name: load_config(path).grpo["learning_rate"] for name, path in rates.ARMS.items()}
    assert set(found.values()) == {rates.best(record["cells"])}


def test_the_page_shows_the_record(rates, record):
    assert rates.table(record["cells"]) in rates.DOC.read_text(encoding="utf-8")


def test_the_origin_knows_the_settings_but_not_the_rate(rates, monkeypatch):
    def changed(*overrides):
        monkeypatch.setattr(rates, "load_config", lambda path: load_config(path, overrides))
        return rates.origin()["arms"]

    own = changed()
    assert changed("grpo.learning_rate=0.5") == own
    assert changed("grpo.max_steps=3") != own


def test_best_is_the_highest_mean_over_the_arms_and_the_lower_of_equals(rates):
    def known(values):
        return {
            f"rate-{arm}-{rate:g}-s{rates.SEEDS[0]}": {"end": {"pass_at_1": value}}
            for rate, row in zip(rates.RATES, values, strict=True)
            for arm, value in zip(rates.ARMS, row, strict=True)
        }

    # means over arms: 0.25, 0.5, 0.5
    found = known([[0.2, 0.3], [1, 0], [0.6, 0.4]])
    assert rates.best(found) == rates.RATES[1]
    assert rates.mean(found, rates.RATES[2], "pass_at_1", arm="grpo") == 0.6
    found["rate-ekipl-5e-05-s0"]["end"]["pass_at_1"] = 0.5
    assert rates.best(found) == rates.RATES[2]
