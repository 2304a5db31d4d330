"""Cells of a tiny study: the same record however often a cell is interrupted, here or elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.load import save_policy
from ekipl_lab.studies.config import Arm, load_study
from ekipl_lab.studies.estimate import describe, seconds_each
from ekipl_lab.studies.plan import plan_study
from ekipl_lab.studies.run import CELL_TAG, PARENT_TAG, run_cell, study_run
from ekipl_lab.tracking import list_runs

#: What takes another time at every start.
TIMES = ("wall_seconds", "cpu_seconds", "evaluation_seconds")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Two arms from a nano policy; records and store in the test's own folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    model, processor = build_tiny_policy("nano", 0)
    save_policy(model, processor, tmp_path / "policy", dtype="float32")
    base = {
        "policy": {"path": str(tmp_path / "policy")},
        "data": {"task": "counting", "families": ["compare"], "limit": 8},
        "teachers": [{"type": "oracle", "id": "o", "style": "short"}],
        "grpo": {"max_steps": 2, "num_generations": 2, "per_device_train_batch_size": 4,
                 "max_completion_length": 40, "learning_rate": 1e-3},
        "evaluation": {"sets": [{"split": "validation", "limit": 2}], "every": 1,
                       "at_start": False, "sampled": "never"},
        "tracking": {"checkpoint_every": 1},
        "diagnostics": {"gradient_norms_every": 0, "doctor_every": 0},
    }  # fmt: skip
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    given = {
        "name": "tiny", "base": str(tmp_path / "base.yaml"), "seeds": [0], "tasks": {"t": {}},
        "arms": {"sft_then_paper": None, "zero_shot": None}, "baseline": "zero_shot",
        "sft": {"batch_size": 2, "success_only": False, "warmup": 0},
        "final": {"num_samples": 2, "ks": [1, 2]}, "primary": ["accuracy_greedy", "pass_at_1"],
        "records": str(tmp_path / "results"),
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(given))
    return tmp_path / "study.yaml"


def of(path):
    """A record without its times."""
    record = json.loads(path.read_text())
    for name in TIMES:
        record["cost"].pop(name)
    for point in record["curve"]:
        point.pop("cpu_seconds")
    record["parts"] = {kind: part["amount"] for kind, part in record["parts"].items()}
    return record


class Interrupt:
    """Ends a cell at the first event of a phase, once."""

    def __init__(self, phase, step):
        self.wanted, self.done = (phase, step), False

    def __call__(self, event):
        if (event.get("phase"), event.get("step")) == self.wanted and not self.done:
            self.done = True
            raise KeyboardInterrupt


def test_a_cell_interrupted_in_every_part_gives_the_record_of_one_that_was_not(study, tmp_path):
    cell, untrained = plan_study(load_study(study))
    first = of(run_cell(cell, ["x"], lambda event: None))
    assert first["cost"]["teacher_actions"] == 4 + 4 and first["cost"]["policy_completions"] == 8
    assert first["parts"] == {"sft": 4, "train": 8, "evaluation": 6}
    assert [point["step"] for point in first["curve"]] == [1, 2]
    assert describe([cell], [], 1, tmp_path).startswith("1 cells, 1 of them done")
    assert seconds_each(tmp_path / "results").keys() == {"sft", "train", "evaluation"}

    parent = study_run("tiny")
    runs = {run.name: run for run in list_runs("study-tiny")}
    assert runs[cell.name].tags[PARENT_TAG] == parent
    assert runs[cell.name].tags[CELL_TAG] == cell.name
    assert runs[f"{cell.name}.2"].tags[PARENT_TAG] == runs[cell.name].run_id

    shutil.rmtree(tmp_path / "work")
    cell.record.unlink()
    for phase, step in (("training", 1), ("measuring validation", 2)):
        emit = Interrupt(phase, step)
        with pytest.raises(KeyboardInterrupt):
            run_cell(cell, ["x"], emit)
        assert emit.done and not cell.record.exists()
    again = of(run_cell(cell, ["x"], lambda event: None))
    assert again == first

    shutil.rmtree(tmp_path / "work")  # another machine: the record alone
    assert main(["compare", str(study), "--estimate"]) == 0
    assert run_cell(cell, ["x"], lambda event: None) == cell.record
    assert not (tmp_path / "work").exists() or not (tmp_path / "work" / cell.name).exists()
    run_cell(untrained, ["x"], lambda event: None)
    assert main(["compare", str(study)]) == 0
    page = (tmp_path / "results" / "tiny" / "README.md").read_text()
    assert "2 of 2 cells have a record" in page

    study.write_text(study.read_text().replace("batch_size: 2", "batch_size: 4"))
    changed = plan_study(load_study(study))[0]
    with pytest.raises(ConfigError, match="made with other settings"):
        changed.finished()


def test_an_arm_without_what_its_preset_needs_is_refused(study):
    own = load_study(study)
    without = own.model_copy(update={"arms": {"distill": Arm()}})
    with pytest.raises(ConfigError, match=r"Arm .distill. of tiny needs .*ekipl\.distill\.path"):
        plan_study(without)


def test_each_cell_is_a_plain_command(study, capsys):
    assert main(["compare", str(study), "--print-cells", "--seeds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"compare {study} --cell tiny-t-sft_then_paper-s3 --seeds 3")
    assert main(["compare", str(study), "--cell", "tiny-t-nothing-s0"]) == 2
    assert "cell 'tiny-t-nothing-s0'" in capsys.readouterr().err


@pytest.mark.slow
def test_cells_and_parent_killed_at_random_continue_to_the_same_records(study, tmp_path):
    line = [sys.executable, "-m", "ekipl_lab", "compare", str(study), "--jobs", "2"]
    assert subprocess.run(line, check=False).returncode == 0
    cells = plan_study(load_study(study))
    before = [of(cell.record) for cell in cells]
    shutil.rmtree(tmp_path / "work")
    for cell in cells:
        cell.record.unlink()
    for seconds in (9, 14, 19):  # the parent: its cells stop with it
        process = subprocess.Popen(line, start_new_session=True)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    one = [sys.executable, "-m", "ekipl_lab", "compare", str(study), "--cell", cells[0].name]
    process = subprocess.Popen(one, start_new_session=True)
    time.sleep(12)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(60):  # a cell whose parent died may still hold its lock
        if subprocess.run(line, check=False).returncode == 0:
            break
        time.sleep(1)
    assert [of(cell.record) for cell in cells] == before
