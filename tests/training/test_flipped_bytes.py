"""A byte flipped in any file of a run: noticed in a sentence, or nothing is different.

Every file of a finished run (working folder and artifacts) is damaged and read by whatever reads
it; every file of an interrupted one is damaged, and the run is continued by the same command.
"""

import random
import shutil
from collections import Counter
from dataclasses import replace

import pytest
import yaml
from safetensors.torch import save
from test_trainer_resume import SETTINGS, assert_same_run

from ekipl_lab import tracking
from ekipl_lab.errors import DataError, EKIPLError
from ekipl_lab.evaluation import read_records
from ekipl_lab.evaluation.model_source import open_model_source
from ekipl_lab.policies import load_policy
from ekipl_lab.records import list_steps, load_groups
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run import train

#: Not of a run: MLflow's database and what only MLflow's page shows (traces).
OTHERS = ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "unit.yaml")
#: Nothing reads them of a finished run: TRL's template of a card, and who bought actions for it.
UNREAD = ("README.md", "teachers.json")
SHORT = ("grpo.max_steps=4", "evaluation.every=2")


def config(folder, name):
    return load_config(folder / "unit.yaml", [f"name={name}", *SHORT])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A store of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store/mlflow.db")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "unit.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    return tmp_path / "store"


def files(folder):
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size)
    return [path for path in found if path.name not in OTHERS and "traces" not in path.parts]


def flips(path, number, seed=0):
    """(place, mask) of single bytes to invert in part or in whole: begin, middle, end, anywhere."""
    rng, size = random.Random(f"{path.name}/{seed}"), path.stat().st_size
    places = [0, size // 2, size - 1, *(rng.randrange(size) for _ in range(number))]
    return [(place, rng.choice((1, 2, 32, 255))) for place in places[:number]]


def flip(path, place, mask):
    content = bytearray(path.read_bytes())
    content[place] ^= mask
    path.write_bytes(content)


def policy_of(policy):
    """Everything of a policy that decides what it does."""
    model, processor = policy.model, policy.processor
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return (
        save(tensors), model.config.to_dict(), model.generation_config.to_dict(),
        processor.tokenizer.backend_tokenizer.to_str(), processor.chat_template,
        processor.image_processor.to_dict(),
    )  # fmt: skip


def reading(path, folder, own, result):
    """What is read of a finished run by way of this file."""
    parts = path.relative_to(folder).parts
    if parts[:2] == ("artifacts", "models"):
        step = next(
            row.step for row in tracking.list_checkpoints(result.run_id)
            if row.location.endswith("/".join(parts[1:4]))
        )  # fmt: skip
        return policy_of(open_model_source(f"mlflow:{result.run_id}@{step}").source._policy)
    if parts[:2] == ("artifacts", result.run_id):
        name = "/".join(parts[3:])
        if parts[3] == "groups":
            groups = tracking.run_artifact(result.run_id, "groups")
            return [load_groups(groups, step) for step in list_steps(groups)]
        found = tracking.run_artifact(result.run_id, name)
        if path.suffix == ".parquet":
            return read_records(found)
        if name == "config.yaml":
            return tracking.read_config(result.run_id)
        if name == "SHA256SUMS":
            return tracking.run_artifact(result.run_id).name
        return found.read_bytes()
    if path.suffix == ".parquet":
        return read_records(path)
    if parts[2] == "evaluation":
        return checkpoint.read_note(path)
    if path.name in UNREAD:
        return None
    if parts[2] == "checkpoints":  # what is not whole is skipped with a word (test_damaged_runs.py)
        if not checkpoint.is_whole(path.parent):
            raise DataError("not whole")
        return True
    if len(parts) > 3:
        return policy_of(load_policy(path.parent))
    return train(own)


def outcomes(path, number, folder, own, result):
    """What came of each flip of a file: ``noticed`` or ``the same``; AssertionError otherwise."""
    kept, before = path.read_bytes(), reading(path, folder, own, result)
    found = []
    for place, mask in flips(path, number):
        flip(path, place, mask)
        try:
            same = reading(path, folder, own, result) == before
            assert same, f"silent: {path.relative_to(folder)}, byte {place} ^ {mask}"
            found.append("the same")
        except EKIPLError as error:
            assert len(str(error).splitlines()) <= 2, error
            found.append("noticed")
        finally:
            path.write_bytes(kept)
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_file_of_a_finished_run(folder):
    own = config(folder, "whole")
    result = train(own)
    found = {path: outcomes(path, 8, folder, own, result) for path in files(folder)}
    print(f"{len(found)} files: {Counter(word for words in found.values() for word in words)}")
    assert len(found) > 60
    unnoticed = {path.name for path, words in found.items() if "noticed" not in words}
    assert unnoticed <= {*UNREAD, "complete.json"}  # that of the start, which is read from its sums


def interrupted(folder, name):
    """A run that was stopped in the evaluation of step 2: checkpoint, records, half a measurement.

    Gives its files, those among MLflow's artifacts too.
    """
    seen = []

    def stop():
        steps = [event["step"] for event in seen if event.get("phase") == "training"]
        return seen[-1:] and seen[-1]["phase"] == "evaluation" and max(steps, default=0) == 2

    result = train(config(folder, name), on_event=seen.append, stop=stop)
    assert (result.status, result.step) == ("stopped", 2)
    own = [path for path in files(folder) if {name, result.run_id} & set(path.parts)]
    assert {"part-000000.jsonl", "optimizer.pt", "run.json"} <= {path.name for path in own}
    return own


def continued(path, folder, copy, whole, name="half"):
    """``noticed`` or ``the same``: how the run ends in a copy of the store with this file damaged.

    MLFLOW_TRACKING_URI must name the copy.
    """
    shutil.copytree(folder, copy)
    ((place, mask),) = flips(path, 4)[3:]
    flip(copy / path.relative_to(folder), place, mask)
    try:
        result = train(config(copy, name))
    except EKIPLError as error:
        assert len(str(error).splitlines()) <= 2, error
        return "noticed"
    there = replace(whole, folder=copy / "work" / whole.name)
    there = replace(there, policy=there.folder / "policy")
    assert_same_run(result, there, 4, (0, 2, 4))
    return "the same"


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_file_of_an_interrupted_run(folder, tmp_path, monkeypatch):
    whole = train(config(folder, "whole"))
    found = {}
    for number, path in enumerate(interrupted(folder, "half")):
        copy = tmp_path / f"copy-{number}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy}/mlflow.db")
        found[path.relative_to(folder)] = continued(path, folder, copy, whole)
        shutil.rmtree(copy)
    print(f"{len(found)} files: {Counter(found.values())}")
    assert set(found.values()) == {"noticed", "the same"}
