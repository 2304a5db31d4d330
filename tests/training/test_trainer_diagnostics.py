"""Diagnostics of each action source: gradient norms, tokens, figures, and the doctor meanwhile."""

import math

import pytest
import torch
import trainer_toys as toys
import yaml

from ekipl_lab import tracking
from ekipl_lab.plots.metrics import drawn
from ekipl_lab.plots.page import scripts
from ekipl_lab.plots.sources import history_of, source_figures, source_page
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.loss.token_weights import TokenWeights
from ekipl_lab.training.run import train


def trained(folder, every, changes=(), **options):
    trainer = toys.ekipl_trainer(
        toys.config(folder, max_steps=2, **dict(changes)), teachers=[toys.oracle()],
        selection="quota", gradient_norms_every=every, **options,
    )  # fmt: skip
    trainer.train()
    return trainer


@pytest.mark.parametrize("rows", [8, 4], ids=["one micro-batch", "two micro-batches"])
def test_gradient_norms_are_those_of_the_rows(tmp_path, rows):
    """Rows of one source alone have that source's gradient; both together have the step's."""
    changes = {
        "per_device_train_batch_size": rows, "gradient_accumulation_steps": 8 // rows,
        "max_grad_norm": 0.0, "beta": 0.0,
    }  # fmt: skip
    trainer = trained(tmp_path, 1, changes)
    names = ("gradient/policy/norm", "gradient/oracle/norm", "grad_norm")
    logged = toys.history(trainer, *names)
    for policy, oracle, both in zip(*logged.values(), strict=True):
        assert policy > 0 and oracle > 0
        assert abs(policy - oracle) - 1e-5 <= both <= policy + oracle + 1e-5


def test_a_source_alone_has_the_whole_gradient(tmp_path):
    """With teacher rows of weight 0 the policy's norm is the step's, and theirs is 0."""
    trainer = trained(tmp_path, 1, schedules={"teacher_weight": [(0, 0.0)]})
    logged = toys.history(trainer, "gradient/policy/norm", "gradient/oracle/norm", "grad_norm")
    assert logged["gradient/oracle/norm"] == [0.0, 0.0]
    assert logged["gradient/policy/norm"] == pytest.approx(logged["grad_norm"], rel=1e-4)


def test_measuring_gradients_moves_no_weight_and_is_done_at_the_interval(tmp_path):
    with_norms, without = trained(tmp_path / "a", 2), trained(tmp_path / "b", 0)
    mine, reference = toys.weights(with_norms), toys.weights(without)
    assert all(torch.equal(mine[name], reference[name]) for name in mine)
    (norms,) = toys.history(with_norms, "gradient/oracle/norm").values()
    assert norms[0] is None and norms[1] > 0
    assert set(toys.history(without, "gradient/oracle/norm")["gradient/oracle/norm"]) == {None}


def test_tokens_of_each_source(tmp_path):
    """At the second update of a generation weights leave 1, some are clipped, and KL is there."""
    changes = {"num_iterations": 2, "learning_rate": 3e-2, "max_grad_norm": 0.0}
    trainer = trained(tmp_path, 0, changes)
    names = ("mean_weight", "max_weight", "effective_share", "clipped", "mean_logp")
    logged = toys.history(
        trainer, *(f"tokens/{s}/{n}" for s in ("policy", "oracle") for n in names)
    )
    first = {name: values[0] for name, values in logged.items()}
    second = {name: values[1] for name, values in logged.items()}
    for source in ("policy", "oracle"):
        assert first[f"tokens/{source}/mean_weight"] == pytest.approx(1.0)
        assert first[f"tokens/{source}/clipped"] == 0.0
        assert second[f"tokens/{source}/max_weight"] >= second[f"tokens/{source}/mean_weight"]
        assert 0 < second[f"tokens/{source}/effective_share"] <= 1 + 1e-6
    assert second["tokens/oracle/clipped"] > 0.1
    assert second["tokens/oracle/mean_logp"] > first["tokens/oracle/mean_logp"]


@pytest.mark.parametrize(("delta", "clipped"), [(None, [0, 1, 0, 1, 0]), (2.0, [0, 1, 0, 1, 1])])
def test_clipped_tokens_are_those_without_a_slope(delta, clipped):
    """Ratios 1, 1.5, 1.5, 0.5, 3 with advantages +, +, -, -, -; TRL's own loss has no slope."""
    from ekipl_lab.groups.options import EKIPLOptions

    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0, -1.0])
    logps = torch.tensor([1.0, 1.5, 1.5, 0.5, 3.0]).log()[:, None].requires_grad_()
    weights = TokenWeights(EKIPLOptions(), [], None, (0.2, 0.2), delta)
    inputs = {"advantages": advantages, "old_per_token_logps": torch.zeros(5, 1)}
    assert weights._clipped(inputs, logps.detach())[:, 0].tolist() == clipped
    ratio = logps.exp()[:, 0]
    bounded = ratio if delta is None else ratio.clamp(max=delta)
    torch.minimum(bounded * advantages, ratio.clamp(0.8, 1.2) * advantages).sum().backward()
    assert (logps.grad[:, 0] == 0).tolist() == [bool(value) for value in clipped]


# -------------------------------------------------------------------------- figures and doctor


def test_figures_of_all_sources_from_what_a_trainer_logged(tmp_path):
    trainer = trained(tmp_path, 1)
    history = history_of(trainer.state.log_history)
    figures = source_figures(history)
    absent = {"kl", "clipped"} - set(figures)
    assert absent == {"kl"}
    wanted = {*drawn("sources", "lines"), *drawn("sources", "shares"), "zero_spread"}
    assert wanted - set(figures) == {"kl", "paid"}  # nobody was paid
    assert [trace.name for trace in figures["gradient"].data] == ["policy", "oracle"]
    assert list(figures["reward"].data[-1].y) == [y for _, y in history["kept/reward"]]
    page = source_page(history, "a <run>")
    assert page.count(scripts()) == 1 and "<title>a &lt;run&gt;</title>" in page
    assert source_figures({}) == {} and "No step" in source_page({}, "x")


#: Four right teacher actions for four places: selection starves itself at every step.
STARVED = {
    "policy": {"build": "nano"},
    "data": {"limit": 8},
    "teachers": [{"type": "oracle", "id": "right", "actions": 4, "style": "short"}],
    "grpo": {
        "num_generations": 4, "per_device_train_batch_size": 8, "max_completion_length": 48,
        "max_steps": 3,
    },
    "evaluation": {"sets": []},
    "diagnostics": {"doctor_every": 2, "gradient_norms_every": 0},
    "tracking": {"experiment": "unit", "checkpoint_every": 3},
}  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Train a config in a store of its own; result and what was said."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "starved.yaml").write_text(yaml.safe_dump(STARVED), encoding="utf-8")

    def start(name, *overrides):
        said = []
        config = load_config(tmp_path / "starved.yaml", [f"name={name}", *overrides])
        result = train(config, on_event=said.append)
        return result, [event for event in said if event["event"] == "message"]

    return start


def test_the_doctor_speaks_while_training_runs_and_its_advice_mends_the_run(run):
    faulty, said = run("faulty")
    assert [event["step"] for event in said] == [2, 3]
    assert said[0]["text"].startswith("Steps 1 to 2: 4 of 4 groups (100%) taught nothing.")
    assert "Try: ekipl.params={keep_failures: 1}" in said[0]["text"]
    history = tracking.metric_history(faulty.run_id)
    assert history["doctor/zero_advantage"] == history["doctor/starved"] == [(2, 1.0), (3, 1.0)]
    assert history["doctor/all_wrong"] == [(2, 0.0), (3, 0.0)]
    words = tracking.run_artifact(faulty.run_id, "group_doctor/step-000003.txt")
    assert words.read_text(encoding="utf-8").startswith("Steps 3 to 3: 2 of 2 groups")
    page = tracking.run_artifact(faulty.run_id, "figures/sources.html")
    assert "Kept actions by source" in page.read_text(encoding="utf-8")
    fixed, said = run("fixed", "ekipl.params={keep_failures: 1}")
    assert said[0]["text"] == "Steps 1 to 2: 0 of 4 groups (0%) taught nothing."
    assert tracking.metric_history(fixed.run_id)["doctor/zero_advantage"] == [(2, 0.0), (3, 0.0)]


def test_a_run_that_teaches_nothing_is_told_after_five_steps(run):
    longer = ("grpo.max_steps=6", "diagnostics.doctor_every=6")
    _, said = run("early", *longer)
    assert [event["step"] for event in said] == [5, 6]
    assert said[0]["text"].startswith("Already after 5 steps: 10 of 10 groups (100%) taught")
    _, said = run("taught", *longer, "ekipl.params={keep_failures: 1}")
    assert [event["step"] for event in said] == [6]


def test_without_a_doctor_nothing_is_said(run):
    result, said = run("silent", "diagnostics.doctor_every=0")
    assert said == []
    assert not any(name.startswith("doctor/") for name in tracking.metric_history(result.run_id))


def test_costs_of_teachers_are_finite_and_add_up(run):
    result, _ = run("costs")
    history = tracking.metric_history(result.run_id)
    written = [value for _, value in history["teacher/right/tokens"]]
    assert sum(written) == history["cost/teacher_tokens"][-1][1] > 0
    assert all(math.isfinite(v) for _, v in history["teacher/right/latency"])
