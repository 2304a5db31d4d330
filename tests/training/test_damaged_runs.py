"""Files of a run that were cut, changed or deleted: it goes on from what is whole, or is refused.

Never a silent difference: either the end is that of the unbroken run, or one sentence says why not.
"""

import errno
import json
import pkgutil
import shutil

import pytest
from own_data import write_tiles
from PIL import Image, ImageOps
from safetensors import SafetensorError
from test_trainer_resume import assert_same_run, config, whole_run

from ekipl_lab import tracking
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.commands import cli
from ekipl_lab.errors import ConfigError, DataError, EKIPLError
from ekipl_lab.evaluation import read_records
from ekipl_lab.evaluation.cache import EvaluationCache
from ekipl_lab.evaluation.model_source import open_model_source
from ekipl_lab.policies import load_policy
from ekipl_lab.policies.load import check_checkpoint
from ekipl_lab.records import list_steps, load_groups
from ekipl_lab.report import gather_runs
from ekipl_lab.report.caveats import warnings
from ekipl_lab.teachers.adapters.local import LocalSpec
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.run import train
from ekipl_lab.training.setup import check_setup
from ekipl_lab.training.sft.stage import supervise
from ekipl_lab.types import Action, Sample


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with whole_run(tmp_path_factory.mktemp("damage")) as made:
        yield made


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
    table = groups.parent / "tables/evaluation_step_000000.json"
    byte(table)
    with pytest.raises(DataError, match=r"evaluation_step_000000\.json is damaged or was changed"):
        train(config(folder, "lost"))
    byte(table)
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


def byte(path, place=0.5):
    """Invert one byte."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 255
    path.write_bytes(content)


def test_a_byte_of_a_finished_run_is_noticed_by_what_reads_it(store, tmp_path, capsys):
    """All files and many bytes of each: tests/training/test_flipped_bytes.py (slow)."""
    _, whole = store
    last = f"mlflow:{whole.run_id}"
    logged = tracking.list_checkpoints(whole.run_id)[-1].folder()
    artifacts = tracking.run_artifact(whole.run_id)
    (groups,) = artifacts.glob("groups/*.parquet")
    (measured,) = artifacts.glob("evaluation/*/step-000008.parquet")

    def run(*words):
        if cli.main(list(words)):
            raise DataError(capsys.readouterr().err)

    teacher = LocalSpec(id="t", path=str(whole.policy))
    evaluate = ("eval", last, "--limit", "1", "--mode", "greedy", "--out", str(tmp_path / "e"))
    for path, place, reads in (
        (logged / "model.safetensors", 0.6, lambda: run(*evaluate)),
        (logged / "generation_config.json", 0.5, lambda: open_model_source(last)),
        (logged / "tokenizer.json", 0.9, lambda: run("runs", "export", whole.run_id)),
        (logged / "SHA256SUMS", 0.2, lambda: open_model_source(last)),
        (whole.policy / "model.safetensors", 0.6, lambda: load_policy(whole.policy)),
        (whole.policy / "config.json", 0.5, lambda: teacher.check(None)),
        (whole.policy / "chat_template.jinja", 0.1, lambda: check_checkpoint(whole.policy)),
        (groups, 0.3, lambda: load_groups(groups.parent, 1)),
        (groups, 0.998, lambda: list_steps(groups.parent)),  # the footer, which has no checksum
        (measured, 0.98, lambda: read_records(measured)),
        (artifacts / "config.yaml", 0.5, lambda: run("report", whole.run_id)),
        (artifacts / "environment.json", 0.5, lambda: run("report", whole.run_id)),
        (artifacts / "tables/evaluation_step_000008.json", 0.5,
         lambda: tracking.read_table(whole.run_id, "evaluation_step_000008")),
    ):  # fmt: skip
        kept = path.read_bytes()
        byte(path, place)
        with pytest.raises(EKIPLError, match=f"{path.name} is damaged|it is not what was written"):
            reads()
        path.write_bytes(kept)
    load_policy(whole.policy)


def test_a_changed_byte_of_a_half_made_evaluation_is_noticed(tmp_path):
    sample = Sample("s", "t", "test", (), "How many?", "2", "number")
    action = Action("<think>a</think><answer>2</answer>", "policy", "m", token_ids=(1, 2))
    EvaluationCache(tmp_path, {"seed": 0}).put(sample, [action])
    assert EvaluationCache(tmp_path, {"seed": 0}).get(sample) == [action]
    (part,) = tmp_path.glob("part-*")
    kept = part.read_bytes()
    part.write_bytes(kept.replace(b"answer>2<", b"answer>3<"))
    with pytest.raises(DataError, match="line 1: damaged; delete this file"):
        EvaluationCache(tmp_path, {"seed": 0})
    row = json.loads(kept)
    del row["sha256"]  # as an earlier version wrote it
    part.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert EvaluationCache(tmp_path, {"seed": 0}).get(sample) == [action]
    (tmp_path / "key.json").write_bytes(b"{")
    with pytest.raises(DataError, match=r"key\.json is empty or damaged"):
        EvaluationCache(tmp_path, {"seed": 0})


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


def test_a_file_in_place_of_a_checkpoint_and_a_copy_set_aside(tmp_path):
    for name in ("checkpoint-2", "checkpoint-2-old", "checkpoint-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"x")
        checkpoint.mark_complete(tmp_path / name, 2, {})
    (tmp_path / "checkpoint-4").write_text("a file")
    found = checkpoint.latest_checkpoint(tmp_path)
    assert found is not None and found.folder == tmp_path / "checkpoint-2"
    checkpoint.prune(tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint-2", "checkpoint-2-old", "checkpoint-x"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["checkpoints", "evaluation", "start", "policy"])
def test_a_file_in_place_of_a_folder_of_the_run_is_refused(store, name):
    folder, _ = store
    own = folder / "work" / f"file-{name}"
    own.mkdir()
    (own / name).write_text("a file")
    with pytest.raises(DataError, match=f"{name} is no folder, which the run keeps there"):
        train(config(folder, own.name))


def test_a_file_in_place_of_a_checkpoint_folder_is_no_policy(tmp_path):
    path = tmp_path / "policy"
    path.write_text("a file")
    for load in (load_policy, check_checkpoint, lambda path: open_model_source(str(path))):
        with pytest.raises(ConfigError, match="is a file; give the folder of one checkpoint"):
            load(path)


def test_wrong_use_leaves_no_folder_behind(store):
    folder, _ = store
    with pytest.raises(ConfigError):
        train(config(folder, "wrong", "data.split=tests"))
    assert not (folder / "work" / "wrong").exists()


REWARD = """
def near(completion, sample):
    return 0.5
"""


def told_run(folder, **changes):
    """The settings of a run on own data with two teachers that repeat recordings."""
    data = write_tiles(folder / "tiles", pictures=4)
    teachers = []
    for name in ("said", "murmured"):
        recording = folder / "tiles" / f"{name}.jsonl"
        samples = load_samples(str(data), task="floor", split="train")
        rows = [{"sample_id": s.id, "completion": f"<answer>{s.answer}</answer>"} for s in samples]
        recording.write_text("".join(json.dumps(row) + "\n" for row in rows))
        teachers.append({"type": "replay", "id": name, "path": str(recording)})
    return parse_config({
        "name": "own",
        "policy": {"build": "nano"},
        "data": {"benchmark": str(data), "task": "floor"},
        "teachers": [teachers[0], {"type": "ensemble", "id": "choir", "members": teachers[1:]}],
        "grpo": {"num_generations": 2, "per_device_train_batch_size": 4, "max_steps": 2,
                 "max_completion_length": 24, "learning_rate": 1.0e-3},
        "evaluation": {"sets": [{"split": "validation"}], "every": 0,
                       "at_start": False, "sampled": "never"},
        "tracking": {"experiment": "unit"},
        **changes,
    })  # fmt: skip


def change(path):
    """Another answer, action, chain or reward in a file, or another picture."""
    if path.suffix == ".png":
        ImageOps.mirror(Image.open(path)).save(path)
        return
    text = path.read_text()
    changed = text.replace("scarlet", "azure").replace("return 0.5", "return 1.0")
    assert changed != text
    path.write_text(changed)


def refused_after_each_change(folder, names, go_on):
    """What was changed since a run stopped is noticed; put back, it is not."""
    for name in names:
        path = folder / "tiles" / name
        before = path.read_bytes()
        change(path)
        with pytest.raises(ConfigError, match=r"was begun with other data: .* has changed"):
            go_on()
        path.write_bytes(before)
    (run,) = tracking.list_runs()
    assert run.status == "KILLED"
    assert go_on().status == "finished"


def test_a_run_does_not_go_on_with_other_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings = told_run(tmp_path)
    assert train(settings, stop=lambda: True).status == "stopped"
    names = ["train.csv", "validation.csv", "said.jsonl", "murmured.jsonl"]
    pictures = ["pictures/train1.png", "pictures/validation2.png"]
    refused_after_each_change(tmp_path, names + pictures, lambda: train(settings))


def test_a_run_goes_on_with_other_code_of_ones_own_and_says_so(tmp_path, monkeypatch):
    """A reward that fails is mended, and the run continues: the report says which code changed."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    own = tmp_path / "near.py"
    own.write_text(REWARD)
    extra = {"near": {"scorer": f"python:{own}:near", "weight": 0.1}}
    settings = told_run(tmp_path, reward={"extra": extra})
    assert train(settings, stop=lambda: True).status == "stopped"
    change(own)
    heard = []
    assert train(settings, on_event=heard.append).status == "finished"
    (said, *_) = [event["text"] for event in heard if event["event"] == "message"]
    assert "Other code" in said and "reward near (" in said
    (run,) = gather_runs([tracking.list_runs()[0].run_id])
    assert run.info.tags["ekipl.changed_code"].startswith("reward near (")
    assert any("own went on with other code: reward near" in text for text in warnings([run]))


def test_a_supervised_stage_does_not_go_on_with_other_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings, sft = told_run(tmp_path), ActionSFT(trainer="trl", batch_size=2, epochs=1.0)
    assert supervise(settings, sft, stop=lambda: True).status == "stopped"
    names = ["train.csv", "said.jsonl", "murmured.jsonl", "pictures/train1.png"]
    refused_after_each_change(tmp_path, names, lambda: supervise(settings, sft))


def test_a_gate_of_a_family_that_own_data_do_not_have_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    gates = {"said": {"floor/paint": "off", "floor/wid": "if_unsolved"}}
    settings = told_run(tmp_path, ekipl={"teacher_gates": gates})
    for attempt in (check_setup, train):
        with pytest.raises(ConfigError, match=r"family in ekipl.teacher_gates.said.*wide"):
            attempt(settings)
    assert tracking.list_runs() == []
    part = settings.data.model_copy(update={"families": ("wide",)})
    check_setup(settings.model_copy(update={"data": part}))  # the table is about more than the run
