"""Cells of a tiny study: the same record however often a cell is interrupted, here or elsewhere."""

import shutil
import subprocess
import sys

import families
import pytest
import yaml
from study_kit import wait_for_event, without_times

from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError
from ekipl_lab.policies.save import save_policy
from ekipl_lab.studies.config import Arm, load_study
from ekipl_lab.studies.estimate import describe, seconds_each, work_of
from ekipl_lab.studies.launchers.gather import gather
from ekipl_lab.studies.plan import plan_study
from ekipl_lab.studies.presets import PRESETS
from ekipl_lab.studies.run import CELL_TAG, PARENT_TAG, run_cell, study_run
from ekipl_lab.tracking import list_runs


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
    first = without_times(run_cell(cell, ["x"], lambda event: None))
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
    again = without_times(run_cell(cell, ["x"], lambda event: None))
    assert again == first

    text = cell.record.read_bytes()
    cell.record.unlink()  # a machine that shares no folder finds it in MLflow
    assert gather([cell, untrained]) == [cell.name] and cell.record.read_bytes() == text
    assert gather([cell]) == []

    shutil.rmtree(tmp_path / "work")  # another machine: the record alone
    assert main(["compare", str(study), "--estimate"]) == 0
    assert run_cell(cell, ["x"], lambda event: None) == cell.record
    assert not (tmp_path / "work").exists() or not (tmp_path / "work" / cell.name).exists()
    run_cell(untrained, ["x"], lambda event: None)
    assert main(["compare", str(study)]) == 0
    page = (tmp_path / "results" / "tiny" / "README.md").read_text()
    assert "2 of 2 cells have a record" in page and "Where kept actions came from" in page

    study.write_text(study.read_text().replace("batch_size: 2", "batch_size: 4"))
    changed = plan_study(load_study(study))[0]
    with pytest.raises(ConfigError, match="made with other settings"):
        changed.finished()


def test_supervised_arms_of_a_real_architecture(study, tmp_path):
    """Qwen2.5-VL at width 32 with LoRA: SFT on answers to its lowest loss, then GRPO from it."""
    save_policy(*families.build("qwen2_5_vl"), tmp_path / "policy", dtype="float32")
    raw = yaml.safe_load((tmp_path / "base.yaml").read_text())
    raw["policy"] |= {"adapter": {"rank": 2}}
    raw["grpo"] |= {"max_steps": 1}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(raw))
    given = yaml.safe_load(study.read_text())
    given["sft"] |= {"validation": 0.25, "validate_every": 2, "learning_rate": 1e-2}
    arms = {"sft_lowest_then_grpo": {"sft": {"learn": "answers"}}, "ans_sft": {}, "cot_sft": {}}
    study.write_text(yaml.safe_dump({**given, "arms": arms, "baseline": "ans_sft"}))
    answers, chains, both = plan_study(load_study(study))  # by name in the file
    assert [step.sft and step.sft.learn for step in both.steps] == ["answers", None]
    assert both.steps[0].sft.validation == 0.1
    assert answers.steps[0].sft.learn == "answers" and chains.steps[0].sft.learn == "chains"
    record = without_times(run_cell(both, ["x"], lambda event: None))
    assert record["parts"] == {"sft": 8, "train": 4, "evaluation": 6}
    assert record["cost"]["teacher_actions"] == 0 and record["cost"]["policy_completions"] == 4
    runs = {run.name: run for run in list_runs("study-tiny")}
    parent = runs[both.name].run_id
    assert all(runs[f"{both.name}.{n}"].tags[PARENT_TAG] == parent for n in (1, 2))
    assert (tmp_path / "work" / f"{both.name}.2" / "policy" / "adapter_config.json").exists()


QUICK = {"distill", "grpo_more", "paper_veto", "rasft", "sft_averaged", "teacher_prefix"}
#: Their chains do not fit here: tests/training/test_sft_trl.py.
LONG = {"cot_sft"}


@pytest.mark.parametrize(
    "arms", [QUICK, pytest.param(PRESETS.keys() - QUICK - LONG, marks=pytest.mark.slow)]
)
def test_every_arm_trains_a_real_architecture_with_lora(study, tmp_path, arms):
    """Qwen2.5-VL at width 32, a step each: all but the one without steps learn from tokens."""
    start = save_policy(*families.build("qwen2_5_vl"), tmp_path / "policy", dtype="float32")
    raw = yaml.safe_load((tmp_path / "base.yaml").read_text())
    raw["policy"] |= {"adapter": {"rank": 2}}
    raw["grpo"] |= {"max_steps": 1, "max_completion_length": 40}
    raw["evaluation"] |= {"sets": [{"split": "validation", "limit": 1}], "every": 0}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(raw))
    given = yaml.safe_load(study.read_text())
    given["sft"] |= {"learning_rate": 1e-2}
    own = {"distill": {"set": {"ekipl.distill.path": str(start)}}}
    named = {name: own.get(name, {}) for name in sorted(arms)}
    study.write_text(yaml.safe_dump({**given, "arms": named, "baseline": min(arms)}))
    for cell in plan_study(load_study(study)):
        cost = without_times(run_cell(cell, ["x"], lambda event: None))["cost"]
        assert (cost["trained_tokens"] > 0) == (cell.arm != "zero_shot"), cell.arm


def test_an_arm_without_what_its_preset_needs_is_refused(study):
    own = load_study(study)
    without = own.model_copy(update={"arms": {"distill": Arm()}})
    with pytest.raises(ConfigError, match=r"Arm .distill. of tiny needs .*ekipl\.distill\.path"):
        plan_study(without)


def test_an_estimate_counts_what_a_cell_does(study):
    """By hand: 4 prompts with one action each; 2 items, measured at steps 1 and 2 and at the end.

    The last measurement takes a greedy answer and 2 samples; a solve rate 8 rollouts a prompt.
    """
    own = load_study(study)
    both, none = (work_of(cell) for cell in plan_study(own))  # sft_then_paper, zero_shot
    assert both == {"sft": 4, "train": 8, "evaluation": 2 * 2 + 2 * 3}
    assert none == {"evaluation": 6}
    rated = own.model_copy(update={"arms": {"rasft": Arm()}, "baseline": "rasft"})
    (weighted,) = plan_study(rated)
    assert work_of(weighted) == {"sft": 4, "evaluation": 4 * 8 + 6}


def test_each_cell_is_a_plain_command(study, capsys):
    assert main(["compare", str(study), "--print-cells", "--seeds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"compare {study} --cell tiny-t-sft_then_paper-s3 --seeds 3")
    assert main(["compare", str(study), "--cell", "tiny-t-nothing-s0"]) == 2
    assert "cell 'tiny-t-nothing-s0'" in capsys.readouterr().err
    one = ["compare", str(study), "--cell", "tiny-t-zero_shot-s0"]
    assert main([*one, "--estimate"]) == 0  # nothing runs
    assert capsys.readouterr().out.startswith("1 cell")
    assert not (study.parent / "results").exists()
    for flags, says in (
        (["--cell", "tiny-t-zero_shot-s0", "--draw"], "leave one of them out"),
        (["--estimate", "--jobs", "0"], "must be at least 1"),
        (["--estimate", "--launcher-option", "a=1"], "give --launcher"),
        (["--estimate", "--seeds", "1", "1"], "names 1 twice"),
    ):
        assert main(["compare", str(study), *flags]) == 2
        assert says in capsys.readouterr().err
    assert main(["compare", str(study), "--draw"]) == 0
    assert "No page: " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_cells_and_parent_killed_on_the_way_continue_to_the_same_records(study, tmp_path):
    line = [sys.executable, "-m", "ekipl_lab", "compare", str(study), "--jobs", "2"]
    assert subprocess.run(line, check=False).returncode == 0
    cells = plan_study(load_study(study))
    before = [without_times(cell.record) for cell in cells]
    shutil.rmtree(tmp_path / "work")
    for cell in cells:
        cell.record.unlink()
    log = tmp_path / "logs" / f"{cells[0].name}.log"
    one = [*line[:5], "--cell", cells[0].name, "--events"]

    def killed_in(phase, command):
        """SIGKILL of a command once the cell is in a phase; the parent's cells stop with it."""
        start = log.stat().st_size
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
            )
            wait_for_event(log, phase, start, process=process)
            process.kill()
            process.communicate()
        assert not cells[0].record.exists()

    killed_in("supervised", line)
    killed_in("training", one)
    killed_in("training", line)
    killed_in("measuring", one)
    assert subprocess.run(line, check=False).returncode == 0  # waits for what is still ending
    assert [without_times(cell.record) for cell in cells] == before
