"""Interrupted runs end as uninterrupted ones do: same bits, same metrics, one MLflow run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError
from ekipl_lab.records import load_groups
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run import train

#: Three steps an epoch, eight steps; a reference model; two unlike teachers.
SETTINGS = {
    "policy": {"build": "nano"},
    "data": {"limit": 12},
    "teachers": [
        {"type": "oracle", "id": "careful", "accuracy": 0.7, "style": "short"},
        {"type": "random", "id": "guesser"},
    ],
    "grpo": {
        "num_generations": 4, "per_device_train_batch_size": 16, "max_completion_length": 32,
        "learning_rate": 1.0e-3, "max_steps": 8, "beta": 0.05,
    },
    "evaluation": {"every": 4, "sets": [{"limit": 4}], "num_samples": 2, "ks": [1, 2]},
    "tracking": {"checkpoint_every": 2, "experiment": "unit"},
}  # fmt: skip


@contextmanager
def whole_run(folder):
    """A store in the folder, in use meanwhile, with the uninterrupted run in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        (folder / "unit.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
        yield folder, train(config(folder, "whole"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with whole_run(tmp_path_factory.mktemp("store")) as made:
        yield made


def config(folder, name, *overrides):
    return load_config(folder / "unit.yaml", [f"name={name}", *overrides])


def assert_same_run(ours, whole, steps=8, measured=(0, 4, 8)):
    """Weights, every metric that is not a time, records, and one point a step."""
    mine = load_file(ours.policy / "model.safetensors")
    reference = load_file(whole.policy / "model.safetensors")
    assert mine.keys() == reference.keys()
    assert all(torch.equal(mine[name], reference[name]) for name in mine)
    start = load_file(whole.folder / "start" / "model.safetensors")
    assert not all(torch.equal(reference[name], start[name]) for name in start)
    histories = [tracking.metric_history(run.run_id) for run in (ours, whole)]
    ours_history, whole_history = (
        {k: v for k, v in h.items() if not k.startswith("seconds/")} for h in histories
    )
    assert ours_history == whole_history
    assert [step for step, _ in whole_history["loss"]] == list(range(1, steps + 1))
    raw = tracking.client().get_metric_history(ours.run_id, "loss")
    assert sorted(point.step for point in raw) == list(range(1, steps + 1))
    folders = [tracking.run_artifact(run.run_id, "groups") for run in (ours, whole)]
    for step in range(1, steps + 1):
        assert load_groups(folders[0], step) == load_groups(folders[1], step) != []
    evaluated = [c.step for c in tracking.list_checkpoints(ours.run_id)]
    assert evaluated == list(measured)
    assert len(tracking.list_runs(name=ours.name)) == 1
    assert tracking.find_run(ours.run_id).status == "FINISHED"


def test_no_metric_is_logged_twice_at_a_step(store):
    """transformers logs the last step's `epoch` once more when it closes."""
    _, whole = store
    names = tracking.find_run(whole.run_id).metrics
    assert {"epoch", "loss", "eval/test/accuracy_greedy"} <= names.keys()
    for name in names:
        points = tracking.client().get_metric_history(whole.run_id, name)
        assert len({point.step for point in points}) == len(points), name


@pytest.mark.slow
def test_stopped_in_the_middle_of_epochs_and_continued(store):
    folder, whole = store
    own = config(folder, "stopped")
    for stop_at in (1, 3, 6, 99):  # a stop is looked at after the next step
        seen = [0]

        def watch(event, seen=seen):
            if event.get("phase") == "training":
                seen[0] = event["step"]

        result = train(own, on_event=watch, stop=lambda seen=seen, at=stop_at: seen[0] >= at)
        if stop_at < 99:
            assert (result.status, result.step, result.policy) == ("stopped", stop_at + 1, None)
            assert tracking.find_run(result.run_id).status == "KILLED"
    assert result.status == "finished" and result.metrics == whole.metrics
    assert_same_run(result, whole)


def run_and_signal(folder, name, number, pattern):
    """Start the run in a process, send it a signal at the first event that matches; exit code."""
    command = [sys.executable, "-m", "ekipl_lab", "train", "--events", "--config",
               str(folder / "unit.yaml"), f"name={name}"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    for line in process.stdout:
        if line.startswith("{") and pattern(json.loads(line)):
            process.send_signal(number)
            break
    process.stdout.read()
    return process.wait()


@pytest.mark.slow
def test_killed_terminated_and_killed_again_and_continued(store):
    folder, whole = store

    def step(number):
        return lambda event: event.get("phase") == "training" and event["step"] == number

    assert run_and_signal(folder, "killed", signal.SIGKILL, step(3)) == -signal.SIGKILL
    assert [c.step for c in tracked(folder)] == [2]
    assert run_and_signal(folder, "killed", signal.SIGTERM, step(5)) == 130
    assert tracked(folder)[-1].step in (5, 6)  # after the step in hand
    assert tracking.list_runs(name="killed")[0].status == "KILLED"
    evaluation = lambda event: event.get("phase") == "evaluation"  # noqa: E731
    assert run_and_signal(folder, "killed", signal.SIGKILL, evaluation) == -signal.SIGKILL
    result = train(config(folder, "killed"))
    assert result.status == "finished"
    assert_same_run(result, whole)


@pytest.mark.parametrize("step", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_stopped_between_measuring_and_registering(store, monkeypatch, step):
    """The policy of the step is registered by the next start, at the last step too."""
    folder, whole = store
    original = tracking.RunLog.log_checkpoint

    def dies(log, path, at, metrics):
        if at == step:
            raise InterruptedError
        return original(log, path, at, metrics)

    name = f"unregistered-{step}"
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(tracking.RunLog, "log_checkpoint", dies)
        train(config(folder, name))
    result = train(config(folder, name))
    assert_same_run(result, whole)
    page = tracking.run_artifact(result.run_id, "figures/sources.html")
    assert "Kept actions by source" in page.read_text(encoding="utf-8")


def tracked(folder):
    return checkpoint.complete_checkpoints(folder / "work" / "killed" / "checkpoints")


def test_half_written_checkpoints_are_never_loaded(store, tmp_path):
    _, whole = store
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(whole.folder / "checkpoints", checkpoints)
    assert [c.step for c in checkpoint.complete_checkpoints(checkpoints)] == [6, 8]  # the last two
    (checkpoints / "checkpoint-10").mkdir()
    (checkpoints / "checkpoint-10" / "model.safetensors").write_bytes(b"half")
    weights = checkpoints / "checkpoint-8" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert checkpoint.latest_checkpoint(checkpoints).step == 6
    assert sorted(p.name for p in checkpoints.glob("checkpoint-*")) == ["checkpoint-6"]
    assert not list(checkpoints.rglob("training_args.bin"))


def test_measuring_moves_no_weight(store):
    folder, whole = store
    bare = train(config(folder, "bare", "evaluation.sets=[]", "tracking.checkpoint_every=8"))
    ours = load_file(bare.policy / "model.safetensors")
    theirs = load_file(whole.policy / "model.safetensors")
    assert bare.metrics == {} and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_finished_run_is_not_trained_again_unless_fresh(store):
    folder, whole = store
    events = []
    again = train(config(folder, "whole"), on_event=events.append)
    assert again == whole and [event["event"] for event in events] == ["finish"]
    changed = config(folder, "whole", "grpo.beta=0.1", "seed=5")
    with pytest.raises(ConfigError, match=r"'whole' was started with another config \(grpo.beta"):
        train(changed)


def test_fresh_starts_anew_in_a_run_of_its_own(store):
    folder, _ = store
    short = config(folder, "fresh", "grpo.max_steps=1", "evaluation.sets=[]")
    first = train(short)
    second = train(short, fresh=True)
    assert first.run_id != second.run_id and second.status == "finished"
    assert first.metrics == second.metrics == {}


def test_a_run_whose_record_is_gone_is_refused(store):
    folder, whole = store
    note = whole.folder / "run.json"
    kept = checkpoint.read_note(note)
    checkpoint.write_note(note, {**kept, "run_id": "0" * 32})
    with pytest.raises(ConfigError, match=r"MLflow run 0+, which is gone; give --fresh"):
        train(config(folder, "whole"))
    checkpoint.write_note(note, kept)


def test_two_processes_cannot_train_the_same_run(store):
    from filelock import FileLock

    folder, whole = store
    with (
        FileLock(whole.folder / "lock"),
        pytest.raises(ConfigError, match="'whole' is being trained by another process"),
    ):
        train(config(folder, "whole"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy={path: /nowhere/at/all}", "'/nowhere/at/all' does not exist"),
        ("data.task=countin", "'countin'; did you mean 'counting'"),
        ("data.split=tests", "'tests'; did you mean 'test'"),
        ("data.benchmark=maxi", "Unknown benchmark 'maxi'; did you mean 'mini'"),
        ("reward.scorer=ekipl/aut", "did you mean 'ekipl/auto'"),
        ("evaluation.sets.0.split=tests", "'tests'; did you mean 'test'"),
        ("grpo.num_generations=1", "needs at least 2"),
    ],
)
def test_wrong_use_leaves_no_run_behind(store, override, message):
    folder, _ = store
    with pytest.raises(ConfigError, match=message):
        train(config(folder, "wrong", override))
    assert tracking.list_runs(name="wrong") == []


def test_checkpoints_load_as_policies(store):
    from ekipl_lab.policies.load import load_policy

    _, whole = store
    last = tracking.list_checkpoints(whole.run_id)[-1]
    assert last.step == 8 and "eval/test/accuracy_greedy" in last.metrics
    ours = load_policy(last.folder()).model.state_dict()
    final = load_policy(Path(whole.policy)).model.state_dict()
    assert all(torch.equal(ours[name], final[name]) for name in final)
