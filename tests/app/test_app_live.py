"""A live group is the one that training would make at its checkpoint: step, costs, encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app import live
from ekipl_lab import benchmarks
from ekipl_lab.groups.encoder import policy_encoder
from ekipl_lab.groups.options import EKIPLOptions
from ekipl_lab.policies import build_tiny_policy, save_policy
from ekipl_lab.policies.load import as_policy
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.run import train
from ekipl_lab.types import Action

ITEM = "mini/counting/validation/s0/count_pair/000000"


def settings(folder: Path, name: str, ekipl: dict[str, Any]) -> dict[str, Any]:
    """Two steps of two prompts, one teacher action each; a checkpoint after every step."""
    policy = folder / "policy"
    if not policy.is_dir():
        save_policy(*build_tiny_policy("nano", 0), policy, dtype="float32")
    return {
        "name": name,
        "policy": {"path": str(policy)},
        "teachers": [{"type": "oracle", "id": "careful", "style": "short"}],
        "ekipl": ekipl,
        "data": {"limit": 8},
        "grpo": {
            "num_generations": 4,
            "per_device_train_batch_size": 8,
            "max_completion_length": 40,
            "max_steps": 2,
        },
        "evaluation": {
            "sets": [{"split": "validation", "limit": 1}],
            "every": 1,
            "at_start": False,
            "sampled": "never",
        },
        "tracking": {"checkpoint_every": 1},
        "diagnostics": {"gradient_norms_every": 0, "doctor_every": 0},
    }


@pytest.mark.parametrize(
    ("ekipl", "reason"),
    [
        ({"schedules": {"teacher_share": [[0, 1], [2, 1], [2, 0]]}}, "schedule"),
        ({"run_budget": {"actions": 3}}, "budget"),  # two a step: used up after the second
    ],
)
def test_schedules_and_budgets_stand_where_the_checkpoint_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ekipl: dict[str, Any], reason: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    run = train(parse_config(settings(tmp_path, "gated", ekipl))).run_id
    sample = benchmarks.load_sample(ITEM)
    for checkpoint in ("start", "step-1"):
        made = live.live_group(run, checkpoint, sample, 0)
        assert [a.source for a in made.group.candidates] == ["policy"] * 4 + ["careful"]
    later = live.live_group(run, "step-2", sample, 0)
    assert [a.source for a in later.group.candidates] == ["policy"] * 4
    assert f"careful: not asked ({reason})" in later.note


def test_a_weighting_over_q_refuses_live_what_it_refuses_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config(settings(tmp_path, "live", {"weighting": "decoupled"}))
    demo = tmp_path / "demo.yaml"
    demo.write_text(config.model_dump_json(), encoding="utf-8")
    monkeypatch.setattr(live, "DEMO_CONFIG", demo)
    made = live.live_group("", "start", benchmarks.load_sample(ITEM), 0)
    assert "Refused: careful: no_logprobs." in made.note


def test_the_encoder_keeps_tokens_and_probabilities_of_the_policys_tokenizer() -> None:
    policy = as_policy(*build_tiny_policy("nano", 0))
    tokenizer = policy.processor.tokenizer
    ids = (*tokenizer("two red").input_ids, tokenizer.eos_token_id)
    scored = Action("two red", "t", "t", ids, (-0.5,) * len(ids), policy.tokenizer_id)
    encoding = policy_encoder(policy, EKIPLOptions(), 20).encode(scored)
    assert (encoding.token_ids, encoding.logprobs) == (ids, scored.logprobs)
    bare = Action("two red", "t", "t")
    assert policy_encoder(policy, EKIPLOptions(), 20).encode(bare).refused is None
    needs_q = EKIPLOptions(weighting="decoupled")
    assert policy_encoder(policy, needs_q, 20).encode(bare).refused == "no_logprobs"
    assert policy_encoder(policy, needs_q, 20).encode(scored).refused is None
