"""A supervised stage as a run: averaged weights, what wrong use leaves, what is not reused."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation import read_records
from ekipl_lab.policies.average import average_policies, between
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.load import load_policy
from ekipl_lab.policies.save import save_policy, scale_adapter
from ekipl_lab.tracking import find_run
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.run import train
from ekipl_lab.training.sft.stage import supervise


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    model, processor = build_tiny_policy("nano", 0)
    save_policy(model, processor, tmp_path / "policy", dtype="float32")
    return tmp_path


def config(store, **changes):
    own = {
        "name": "own", "policy": {"path": str(store / "policy")},
        "data": {"task": "counting", "families": ["compare"], "limit": 8},
        "teachers": [{"type": "oracle", "id": "o", "style": "short"}],
        "grpo": {"max_steps": 2, "num_generations": 2, "per_device_train_batch_size": 4,
                 "max_completion_length": 40},
        "evaluation": {"sets": [{"split": "validation", "limit": 2}], "every": 0,
                       "num_samples": 2, "ks": [1]},
    }  # fmt: skip
    return own | changes


STEPS = ActionSFT(batch_size=2, warmup=0, epochs=2)
RATES = {
    "own": {"matrix_lr": 0.02, "rest_lr": 0.01},
    "trl": {"trainer": "trl", "learning_rate": 0.01},
}


def weights(folder):
    return load_policy(folder).model.state_dict()


def test_weights_between_two_by_hand():
    start = {"a": torch.tensor([0.0, 4.0]), "n": torch.tensor([1])}
    learned = {"a": torch.tensor([8.0, 0.0]), "n": torch.tensor([5])}
    found = between(start, learned, 0.75)
    assert found["a"].tolist() == [6.0, 1.0] and found["n"].tolist() == [5]
    half = {"a": torch.tensor([8.0, 0.0], dtype=torch.float16), "n": learned["n"]}
    assert between(start, half, 0.75)["a"].dtype == torch.float16
    for other in ({"a": torch.zeros(3), "n": learned["n"]}, {"n": learned["n"]}):
        with pytest.raises(ConfigError, match=r"differ in 'a' .1 tensors.: only the same"):
            between(start, other, 0.5)


@pytest.mark.parametrize("loop", ["own", "trl"])
def test_the_policy_of_a_stage_is_the_average_and_what_is_measured(store, loop):
    """Twice learned alike, once kept whole: the average is of that and of the start."""
    run = parse_config(config(store))
    settings = STEPS.model_copy(update=RATES[loop])
    whole = supervise(run, settings)
    named = run.model_copy(update={"name": "averaged"})
    kept = supervise(named, settings.model_copy(update={"average": 0.25}), measure=True)
    wanted = between(weights(store / "policy"), weights(whole.policy), 0.25)
    found = weights(kept.policy)
    assert all(torch.allclose(found[n], wanted[n], atol=1e-3) for n in wanted)  # saved as float16
    assert any(not torch.equal(found[n], weights(whole.policy)[n]) for n in wanted)
    again = average_policies(store / "policy", whole.policy, 0.25, store / "third")
    assert all(torch.equal(weights(again)[n], found[n]) for n in wanted)
    assert kept.is_measured and kept.metrics["eval/validation/accuracy_greedy"] >= 0
    assert find_run(kept.run_id).params["sft.average"] == "0.25"


def test_an_adapter_is_averaged_like_the_policy_into_which_it_is_merged(store):
    lora = {"path": str(store / "policy"), "adapter": {"rank": 2, "alpha": 4}}
    run = parse_config(config(store, policy=lora))
    settings = STEPS.model_copy(update=RATES["trl"])
    whole = supervise(run, settings)
    named = run.model_copy(update={"name": "averaged"})
    kept = supervise(named, settings.model_copy(update={"average": 0.25}))
    start, learned = weights(store / "policy"), weights(whole.policy)
    wanted = between(start, learned, 0.25)
    assert max((learned[n] - start[n]).abs().max() for n in wanted) > 0.01
    for found in (weights(kept.policy), weights(kept.folder / "adapter")):
        assert all(torch.allclose(found[n], wanted[n], atol=1e-3) for n in wanted)
    with pytest.raises(ConfigError, match="not an adapter folder"):
        scale_adapter(kept.policy, 0.5)


def run_of(store, capsys, *words, **changes):
    path = store / "own.yaml"
    path.write_text(yaml.safe_dump(config(store, recipe="sft_actions", **changes)))
    given = {"batch_size": 2, "warmup": 0}
    code = main(["train", "--config", str(path), f"sft={json.dumps(given)}", *words])
    return code, capsys.readouterr().err.strip()


def test_wrong_use_leaves_nothing_and_fresh_wrong_use_what_there_was(store, capsys):
    wrong = ("sft.validation=0.99", "sft.trainer=own", "policy.dtype=bfloat16")
    for words, says in (([wrong[0]], "leaves none to learn"), ([*wrong[1:]], "cannot be")):
        for dry in (["--dry-run"], []):
            code, said = run_of(store, capsys, *words, *dry)
            assert code == 2 and says in said, (words, dry, said)
        work = store / "work" / "own"
        assert not work.exists() or [path.name for path in work.iterdir()] == ["lock"]
    assert run_of(store, capsys)[0] == 0
    kept = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    assert work / "policy" / "model.safetensors" in kept
    assert run_of(store, capsys, wrong[0], "--fresh")[0] == 2
    assert {p: p.read_bytes() for p in work.rglob("*") if p.is_file()} == kept
    assert run_of(store, capsys, "--fresh")[0] == 0 and not (work / ".before").exists()


def test_a_killed_fresh_start_gives_back_what_it_moved_away(store):
    run = parse_config(config(store, teachers=[]))
    first = train(run)
    folder = first.folder
    kept = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.json")}
    before = folder / ".before"
    before.mkdir()
    for name in ("run.json", "policy"):  # killed in the middle of moving
        (folder / name).rename(before / name)
    assert train(run).run_id == first.run_id and not before.exists()
    assert {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.json")} == kept


def test_what_was_taught_by_other_settings_is_asked_for_again(store):
    """Left by a start that was killed before its run was noted."""
    run = parse_config(config(store))
    supervise(run, STEPS)
    folder = store / "work" / "own"
    taught = json.loads((folder / "taught.json").read_text())
    other = store / "work" / "other"
    other.mkdir()
    (other / "taught.json").write_text((folder / "taught.json").read_text())
    named = run.model_copy(update={"name": "other"})
    supervise(named, STEPS.model_copy(update={"learn": "answers"}))
    said = [text for _, text, _ in json.loads((other / "taught.json").read_text())["examples"]]
    assert said and all(text.startswith("<answer>") for text in said)
    assert not any(text.startswith("<answer>") for _, text, _ in taught["examples"])


def test_a_stage_is_not_taken_for_done_from_another_start_or_data(store, capsys):
    run = parse_config(config(store, teachers=[]))
    train(run)
    learned = parse_config(config(store, name="learned"))
    supervise(learned, STEPS)
    model, processor = build_tiny_policy("nano", 1)
    save_policy(model, processor, store / "policy", dtype="float32")
    with pytest.raises(ConfigError, match=r"the policy it starts from, .*, has changed"):
        train(run)
    with pytest.raises(ConfigError, match=r"the policy it starts from, .*, has changed"):
        supervise(learned, STEPS)


def test_a_finished_run_that_was_not_measured_is_not_taken_for_one_that_was(store):
    run = parse_config(config(store))
    assert not supervise(run, STEPS).is_measured
    with pytest.raises(ConfigError, match="its policy was not measured; `ekipl eval`"):
        supervise(run, STEPS, measure=True)


def test_a_run_of_the_trainer_is_another_run(store):
    """Also one whose note is of a time when there were no such keys."""
    train(parse_config(config(store, teachers=[])))
    note = store / "work" / "own" / "run.json"
    old = json.loads(note.read_text())
    for key in ("sft", "recipe"):
        old["config"].pop(key)
    note.write_text(json.dumps(old))
    with pytest.raises(ConfigError, match="give --fresh"):
        supervise(parse_config(config(store)), ActionSFT())


def test_further_rewards_are_measured_too_and_bad_records_are_said(store, tmp_path):
    rows = [{"id": str(i), "question": "q", "answer": "1", "image": "x.png"} for i in range(4)]
    rows.append({"id": "bad", "question": "q", "image": "x.png"})
    Image.new("RGB", (56, 56)).save(tmp_path / "x.png")
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    about = {"name": "mine", "splits": {"train": "d.jsonl", "validation": "d.jsonl"},
             "task": "t", "answer_type": "number",
             "columns": {name: name for name in ("id", "question", "answer", "image")}}  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(about))
    changes = {
        "data": {"benchmark": str(tmp_path / "mine.yaml"), "task": "t", "limit": 4,
                 "on_bad_record": "skip"},
        "reward": {"overlong": {"buffer": 5}},
        "teachers": [],
    }  # fmt: skip
    events = []
    done = supervise(
        parse_config(config(store, **changes)),
        STEPS.model_copy(update={"learn": "answers", "trainer": "trl"}),
        measure=True,
        on_event=events.append,
    )
    assert any("left out" in str(event.get("text")) for event in events)
    assert find_run(done.run_id).metrics["data/left_out"] >= 1
    (path,) = Path(done.folder).glob("evaluation/validation/step-000000.parquet")
    assert "overlong" in read_records(path)[0].rewards[0].components
