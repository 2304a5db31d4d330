"""Headroom gates and model cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation.headroom import (
    caption_accuracy,
    headroom,
    label_accuracy,
    measure,
    table,
)
from ekipl_lab.evaluation.model_card import card
from ekipl_lab.evaluation.slices import stratum_of
from ekipl_lab.policies import as_policy, build_tiny_policy, save_policy

torch.set_num_threads(1)


def test_strata_by_hand() -> None:
    rates = (0.0, 0.05, 0.051, 0.5, 0.51, 1.0)
    assert [stratum_of(rate) for rate in rates] == [
        "0-5 %", "0-5 %", "5-50 %", "5-50 %", "> 50 %", "> 50 %",
    ]  # fmt: skip


def test_caption_accuracy_by_hand() -> None:
    kinds = ("size", "colour", "shape")
    truths = ["p2 large red ball , p7 small blue cube", "p1 small red cone"]
    captions = ["p2 large green ball , p8 small blue cube", "p1 small red cone"]
    shares = caption_accuracy(truths, captions, kinds)
    assert shares == pytest.approx(
        {"cell": 2 / 3, "size": 2 / 3, "colour": 1 / 3, "shape": 2 / 3, "extra": 1 / 3}
    )
    with pytest.raises(ConfigError, match="no thing at all"):
        caption_accuracy(["none"], ["none"], kinds)


def test_two_pictures_are_two_pictures() -> None:
    shares = caption_accuracy(["p2 red ball then p3 red ball"], ["p2 red ball"], ("color", "shape"))
    assert shares == {"cell": 0.5, "color": 0.5, "shape": 0.5, "extra": 0.0}


def test_labels_by_hand() -> None:
    assert label_accuracy(["50 x 60", "x 7"], ["50 60", "x 7 9"]) == {"label": 3 / 5}


@pytest.mark.parametrize("task", ["counting", "geometry", "transformation"])
def test_every_task_has_its_gates(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = {"geometry": 84}.get(task, 56)
    folder = save_policy(*build_tiny_policy("nano", 0, image_size=size), tmp_path / "nano")
    out = tmp_path / "figures.json"
    assert measure({task: folder}, items=1, out=out) is False
    written = json.loads(out.read_text())[task]
    assert set(written["gates"]) == {"perception", "sub_skills", "strata"}
    assert written["perception"]["exact"] == 0.0
    assert all(family in capsys.readouterr().out for family in [*written["sub_skills"]][:1])


def test_an_untrained_policy_fails_every_gate(tmp_path: Path) -> None:
    model, processor = build_tiny_policy("nano", 0)
    result = headroom(as_policy(model, processor), task="counting", items=2, max_new_tokens=3)
    assert result["gates"] == {"perception": False, "sub_skills": False, "strata": False}
    assert result["perception"]["exact"] == 0.0
    assert result["families"]["count_pair"]["stratum"] == "0-5 %"
    assert result["families"]["count_pair"]["sampled"]["n"] == 2
    assert "gates: perception FAILS" in table(result)
    folder = save_policy(model, processor, tmp_path / "nano")
    text = card("x", folder, "configs/c.yaml", result)
    parameters = sum(p.numel() for p in model.parameters())
    assert f"{parameters:,} parameters" in text
    assert "| count_pair | 0.000 (0.000 to 0.658) |" in text


def test_a_task_without_a_policy_fails_its_gates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure({"geometry": tmp_path / "none"}, items=1) is False
    assert "geometry: there is no policy at" in capsys.readouterr().out


def test_unknown_task() -> None:
    with pytest.raises(ConfigError, match="did you mean 'counting'"):
        headroom(as_policy(*build_tiny_policy("nano", 0)), task="couting")
    with pytest.raises(ConfigError, match="did you mean 'counting'"):
        measure({"couting": Path("assets/policies/counting")})


def test_no_items() -> None:
    with pytest.raises(ConfigError, match="at least one item of each family, not 0"):
        measure({"counting": Path("assets/policies/counting")}, items=0)
