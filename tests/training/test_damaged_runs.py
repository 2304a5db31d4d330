"""Files of a run that were cut, changed or deleted: it goes on from what is whole, or is refused.

Never a silent difference: either the end is that of the unbroken run, or one sentence says why not.
"""

import errno
import pkgutil
import shutil

import pytest
import yaml
from safetensors import SafetensorError
from test_trainer_resume import SETTINGS, assert_same_run

from ekipl_lab import tracking
from ekipl_lab.commands import cli
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run import train


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of its own, with the unbroken run in it."""
    folder = tmp_path_factory.mktemp("damage")
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    (folder / "unit.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    yield folder, train(config(folder, "whole"))
    patch.undo()


def config(folder, name, *overrides):
    return load_config(folder / "unit.yaml", [f"name={name}", *overrides])


def stopped(folder, name, after=6):
    """The run, stopped after the step; its working folder."""
    seen = []

    def watch(event):
        if event.get("phase") == "training":
            seen.append(event["step"])

    result = train(
        config(folder, name), on_event=watch, stop=lambda: max(seen, default=0) >= after - 1
    )
    assert (result.status, result.step) == ("stopped", after)
    return result.folder


def flip(path, size=64):
    """Invert some bytes in the middle of a file."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + size] = bytes(255 - byte for byte in content[middle : middle + size])
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def other_figure(path):
    text = path.read_text(encoding="utf-8")
    at = next(i for i, sign in enumerate(text) if sign in "12345678")
    path.write_text(f"{text[:at]}{int(text[at]) + 1}{text[at + 1 :]}", encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (flip, "model.safetensors"),
        pytest.param(flip, "optimizer.pt", marks=pytest.mark.slow),
        (empty, "complete.json"),
        pytest.param(other_figure, "complete.json", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_a_word(store, harm, name):
    folder, whole = store
    own = f"{harm.__name__}-{name}"
    checkpoints = stopped(folder, own) / "checkpoints"
    assert [c.step for c in checkpoint.complete_checkpoints(checkpoints)] == [4, 6]
    harm(checkpoints / "checkpoint-6" / name)
    flip(folder / "work" / own / "start" / "model.safetensors")  # the reference of beta
    events = []
    result = train(config(folder, own), on_event=events.append)
    text = next(event["text"] for event in events if event["event"] == "message")
    assert "checkpoint-6 is damaged" in text and "the one before" in text
    assert_same_run(result, whole)


def shards(run_name):
    (run,) = tracking.list_runs(name=run_name)
    return sorted(tracking.run_artifact(run.run_id, "groups").glob("steps-*.parquet"))


def test_lost_group_records_are_missed_when_a_run_continues(store, tmp_path):
    folder, whole = store
    stopped(folder, "lost")
    groups = shards("lost")[0].parent
    kept = tmp_path / "kept"
    shutil.copytree(groups, kept)
    for harm in (shutil.rmtree, lambda path: flip(next(path.glob("steps-*.parquet")))):
        harm(groups)
        with pytest.raises(DataError, match=r"group records|Group record .* is damaged"):
            train(config(folder, "lost"))
        assert tracking.list_runs(name="lost")[0].status == "FAILED"
        shutil.rmtree(groups, ignore_errors=True)
        shutil.copytree(kept, groups)
    assert_same_run(train(config(folder, "lost")), whole)


def test_group_records_deleted_in_mid_run_are_missed_at_the_next_save(store):
    folder, _ = store

    def delete(event):
        if event.get("phase") == "training" and event["step"] == 3:
            shards("deleted")[0].unlink()

    with pytest.raises(DataError, match="rows of group records, and the run wrote"):
        train(config(folder, "deleted"), on_event=delete)
    with pytest.raises(DataError, match="rows of group records, and the run wrote"):
        train(config(folder, "deleted"))
    assert not (folder / "work" / "deleted" / "result.json").exists()


def test_a_run_killed_while_its_mlflow_run_was_made_takes_that_one(store, monkeypatch):
    folder, _ = store
    short = config(folder, "orphan", "grpo.max_steps=1", "evaluation.sets=[]")
    original = checkpoint.write_note

    def dies(path, note):
        if note.get("run_id"):
            raise InterruptedError
        original(path, note)

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(checkpoint, "write_note", dies)
        train(short)
    (orphan,) = tracking.list_runs(name="orphan")
    assert train(short).run_id == orphan.run_id
    (run,) = tracking.list_runs(name="orphan")
    assert run.status == "FINISHED" and "ekipl.data.training" in run.tags


@pytest.mark.parametrize("harm", [empty, flip, other_figure])
@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_a_damaged_note_is_named_and_fresh_helps(store, harm, name):
    folder, whole = store
    path = whole.folder / name
    kept = path.read_bytes()
    harm(path)
    with pytest.raises(ConfigError, match=f"{name} is .*give --fresh to start anew"):
        train(config(folder, "whole"))
    path.write_bytes(kept)
    assert train(config(folder, "whole")) == whole


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
NO_SPACE_FOR_WEIGHTS = SafetensorError(
    "Error while serializing: I/O error: No space left on device (os error 28)"
)
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("place", "call", "error"),
    [
        ("ekipl_lab.files.os.fsync", 9, NO_SPACE),
        pytest.param("ekipl_lab.tracking.artifacts.shutil.copyfile", 6, NO_SPACE, marks=SLOW),
        pytest.param(
            "transformers.modeling_utils.safe_save_file", 4, NO_SPACE_FOR_WEIGHTS, marks=SLOW
        ),
    ],
)
def test_a_full_disk_is_said_and_the_same_command_continues(
    store, monkeypatch, capsys, place, call, error
):
    folder, whole = store
    name, calls = place.rpartition(".")[2], [0]
    original = pkgutil.resolve_name(place)
    with monkeypatch.context() as patch:

        def fails(*arguments, **named):
            calls[0] += 1
            if calls[0] >= call:
                raise error
            return original(*arguments, **named)

        patch.setattr(place, fails)
        assert cli.main(["train", "--config", str(folder / "unit.yaml"), f"name={name}"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("ekipl: the disk is full") and "the same command continues" in said
    assert not list(folder.rglob("*.tmp")) and not list((folder / "work" / name).rglob(".policy*"))
    assert_same_run(train(config(folder, name)), whole)


def test_wrong_use_leaves_no_folder_behind(store):
    folder, _ = store
    with pytest.raises(ConfigError):
        train(config(folder, "wrong", "data.split=tests"))
    assert not (folder / "work" / "wrong").exists()
