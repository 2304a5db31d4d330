"""perf/retraining.py: how far a retrained policy lies from the shipped one."""

import importlib.util
import json
from types import ModuleType
from typing import Any

import pytest
from paths import ROOT

from ekipl_lab.training.sft.config import load_sft_config
from ekipl_lab.training.sft.warm_start import fingerprint


@pytest.fixture(scope="module")
def retraining() -> ModuleType:
    path = ROOT / "perf" / "retraining.py"
    spec = importlib.util.spec_from_file_location("retraining", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(caption: float, easy: float, hard: float, holds: bool = True) -> dict[str, Any]:
    return {
        "sub_skills": {"caption": {"value": caption}},
        "families": {
            "easy": {"sampled": {"value": easy}, "greedy": {"value": 0.0}, "stratum": "> 50 %"},
            "hard": {
                "sampled": {"value": hard},
                "greedy": {"value": 0.0},
                "stratum": "5-50 %" if hard > 0.05 else "0-5 %",
            },
        },
        "gates": {"perception": holds, "strata": True},
    }


def test_differences_and_margin_by_hand(retraining: ModuleType) -> None:
    shipped, again = measured(0.99, 0.90, 0.20), measured(0.94, 0.95, 0.04)
    found = retraining.differences(shipped, again)
    assert {name: kind for name, (kind, _) in found.items()} == {
        "caption": "sub-skill", "easy": "family", "hard": "family",
    }  # fmt: skip
    by = {name: moved for name, (_, moved) in found.items()}
    assert by == pytest.approx({"caption": -0.05, "easy": 0.05, "hard": -0.16})
    # exactly on the margin of 0.05 is inside; 0.16 is beyond the margin of 0.15
    assert retraining.MARGIN == {"sub-skill": 0.05, "family": 0.15}
    assert retraining.outside(shipped, again) == ["hard", "hard (5-50 % to 0-5 %)"]
    assert retraining.outside(shipped, measured(0.93, 0.90, 0.20)) == ["caption"]
    assert retraining.outside(shipped, shipped) == []


def test_a_line_of_the_table(retraining: ModuleType) -> None:
    pair = {"shipped": measured(0.99, 0.90, 0.20), "again": measured(0.89, 0.93, 0.10, False)}
    record = {
        "task": "counting", "name": "again", "same_weights": False, "seconds": 7,
        "seeds": {"23": pair},
    }  # fmt: skip
    assert retraining.table([record]).splitlines()[-1] == (
        "| counting | again | others | 23 | fail: perception | caption 0.990 to 0.890 "
        "| hard 0.200 to 0.100 | caption | 7 |"
    )
    of_study = retraining.table([record | {"policy": "counting_study"}]).splitlines()[-1]
    assert of_study.startswith("| counting_study | again |")


def test_what_is_known_of_the_shipped_policy_is_a_warm_start_s(
    retraining: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, int, int]] = []
    monkeypatch.setattr(retraining, "load_policy", lambda folder: folder.name)
    monkeypatch.setattr(
        retraining,
        "headroom",
        lambda name, task, seed, items: asked.append((name, task, seed, items)),
    )
    frozen = json.loads((ROOT / "results" / "headroom.json").read_text())["counting"]
    assert retraining._shipped("counting", "counting", frozen["seed"], frozen["items"]) == frozen
    assert asked == []
    retraining._shipped("counting_study", "counting", frozen["seed"], frozen["items"])
    assert asked == [("counting_study", "counting", frozen["seed"], frozen["items"])]


def test_the_page_shows_every_retraining_of_the_recipes_of_today(retraining: ModuleType) -> None:
    page, records = retraining.DOC.read_text(encoding="utf-8"), retraining.load_records()
    known = {record.get("policy", record["task"]) for record in records}
    missing = {"counting", "geometry", "transformation"} - known
    assert all(f"**Not retrained yet: {task}" in page for task in missing)
    assert ("Not retrained yet" in page) == bool(missing)
    frozen = json.loads((ROOT / "results" / "headroom.json").read_text())
    for record in records:
        name, task = record.get("policy", record["task"]), record["task"]
        config = load_sft_config(ROOT / "configs" / f"sft_{name}.yaml")
        assert record["recipe"] == fingerprint(config)
        assert name != task or record["seeds"]["0"]["shipped"] == frozen[task]
    assert retraining.table(records) in page
