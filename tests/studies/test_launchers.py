"""Launchers: what is requeued and what is not; jobs of submitit and Ray that are really run."""

import os
import signal
from pathlib import Path

import pytest

from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError
from ekipl_lab.studies.cells import RunSpec
from ekipl_lab.studies.launchers.job import Answer, Job
from ekipl_lab.studies.launchers.ray import RayOptions
from ekipl_lab.studies.launchers.registry import get_launcher, read_options
from ekipl_lab.studies.launchers.slurm import SlurmEngine, SlurmOptions
from ekipl_lab.studies.launchers.watch import Lost, launch

FINE = Answer(0, "r1", "")


class Scripted:
    """An engine whose jobs end one after the other as was written down."""

    jobs = None

    def __init__(self, ends, requeues=2):
        self.environment = {"MLFLOW_X": "1"}
        self.ends, self.requeues = {name: list(given) for name, given in ends.items()}, requeues
        self.sent, self.most, self.cancelled = [], 0, []

    def submit(self, job):
        self.sent.append(job)
        return job.cell.name

    def ended(self, running):
        self.most = max(self.most, len(running))
        name = next(iter(running))
        job = next(job for job in self.sent if job.cell.name == name)
        with job.log.open("a") as log:
            log.write('{"event": "progress", "phase": "training", "step": 1}\nhalf a li')
        end = self.ends[name].pop(0)
        if isinstance(end, BaseException):
            raise end
        return {name: end}

    def cancel(self, handle):
        self.cancelled.append(handle)


def run(engine, tmp_path, **options):
    seen = []
    results = launch(
        engine,
        [RunSpec(name, Path("x.yaml")) for name in engine.ends],
        logs=tmp_path / "logs",
        on_event=lambda name, event: seen.append((name, event["phase"])),
        **options,
    )
    return results, seen


def test_what_was_killed_goes_back_and_what_failed_does_not(tmp_path):
    wrong = Answer(2, None, "ekipl: grpo.beta must be a number.")
    engine = Scripted({"a": [Lost("NODE_FAIL"), Answer(-9, "r", ""), FINE],
                       "b": [wrong], "c": [Answer(130, "r", "x"), FINE]})  # fmt: skip
    results, seen = run(engine, tmp_path, jobs=2)
    assert [(r.cell.name, r.returncode, r.run_id) for r in results] == [
        ("a", 0, "r1"), ("b", 2, None), ("c", 0, "r1")]  # fmt: skip
    assert [job.cell.name for job in engine.sent].count("a") == 3 and engine.most == 2
    assert [job.cell.name for job in engine.sent].count("b") == 1
    assert results[1].log.read_text().splitlines()[-1] == wrong.said
    assert seen.count(("a", "requeued (NODE_FAIL)")) == 1
    assert ("a", "requeued (killed, exit code -9)") in seen and ("b", "training") in seen
    assert all(job.environment == {"MLFLOW_X": "1"} for job in engine.sent)


def test_a_cell_that_is_always_killed_is_given_up_in_one_sentence(tmp_path):
    engine = Scripted({"a": [Lost("OUT_OF_MEMORY")] * 9, "b": [Lost("CANCELLED", again=False)]})
    results, _ = run(engine, tmp_path)
    assert [r.returncode for r in results] == [1, 1] and len(engine.sent) == 3 + 1
    said = [r.log.read_text().splitlines()[-1] for r in results]
    assert "ended from outside as 2 times before (OUT_OF_MEMORY); see its log" in said[0]
    assert "ended from outside (CANCELLED); the same command continues it" in said[1]


def test_an_interrupt_cancels_every_job(tmp_path):
    engine = Scripted({"a": [KeyboardInterrupt()], "b": []})
    with pytest.raises(KeyboardInterrupt):
        run(engine, tmp_path)
    assert engine.cancelled == ["a", "b"]


def test_a_requeued_cell_is_not_begun_anew(tmp_path):
    job = Job(RunSpec("a", Path("x.yaml")), tmp_path, tmp_path, fresh=True)
    job.log.write_text("Traceback of a start that came to nothing\n")
    assert not job._begun()
    job.log.write_text('{"event": "start", "run_id": "r1"}\n')
    assert job._begun()


def test_wrong_options_are_named(tmp_path, capsys):
    for launcher, given, said in [
        ("slurm", ["partion=gpu"], r"option of launcher slurm 'partion'; did you mean 'partition'"),
        ("slurm", ["time=long"], "launcher-option: time must be a whole number"),
        ("ray", ["cpus=-1"], "cpus must be 0 or more"),
        ("local", ["cpus=1"], "is of slurm and ray"),
        ("cloud", [], "Unknown launcher 'cloud'"),
    ]:
        with pytest.raises(ConfigError, match=said):
            get_launcher(launcher, given)
    options = read_options(RayOptions, "ray", ["gpus=0.5", "resources={a100: 1}"])
    assert (options.gpus, options.resources) == (0.5, {"a100": 1.0})
    (tmp_path / "c.yaml").write_text("name: x\n")
    assert main(["compare", str(tmp_path / "c.yaml"), "--launcher", "ray"]) == 2
    assert "--launcher ray is for a study" in capsys.readouterr().err
    # What would be passed over: `--estimate` must never begin to train.
    for option in (["--estimate"], ["--draw"], ["--events"], ["--cell", "x"],
                   ["--launcher-option", "gpus=1"]):  # fmt: skip
        assert main(["compare", str(tmp_path / "c.yaml"), *option]) == 2
        assert f"{option[0]} is for a study" in capsys.readouterr().err
    # Nor may it train what no report can compare.
    for never in ("sets: []", "at_start: false, at_end: false, every: 9"):
        (tmp_path / "c.yaml").write_text(
            f"name: x\npolicy: {{path: {tmp_path}}}\ngrpo: {{max_steps: 2}}\n"
            f"evaluation: {{{never}}}\n"
        )
        assert main(["compare", str(tmp_path / "c.yaml")]) == 2
        assert "c is evaluated on nothing or never" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "c.yaml"), "--threads", "0"])
    assert "0 is not a whole number of 1 or more" in capsys.readouterr().err
    (tmp_path / "s.yaml").write_text("arms: {}\n")
    assert main(["compare", str(tmp_path / "s.yaml"), "--report", "a.html"]) == 2
    assert "leave --report out" in capsys.readouterr().err


def test_slurm_is_asked_for_what_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", staticmethod(lambda: 2))
    given = ["partition=gpu", "gpus=2", "mem=16G", "time=90", "cpus=4", "qos=low"]
    engine = SlurmEngine(read_options(SlurmOptions, "slurm", given))
    script = engine._executor(tmp_path, "s-t-grpo-s0")._make_submission_file_text("run", "1")
    for line in ("partition=gpu", "gpus-per-node=2", "mem=16G", "time=90", "cpus-per-task=4",
                 "qos=low", "requeue", "job-name=s-t-grpo-s0", "signal=USR2@90"):  # fmt: skip
        assert f"#SBATCH --{line}\n" in script, line


class KilledOnce(SlurmEngine):
    """Kills its first job as soon as it is submitted."""

    count = 0

    def submit(self, job):
        handle = super().submit(job)
        self.count += 1
        if self.count == 1:
            os.kill(int(handle.job_id), signal.SIGKILL)
        return handle


def test_a_killed_job_of_submitit_is_run_again_and_its_own_error_told(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("grpo: [\n")
    engine = KilledOnce(SlurmOptions(cluster="local", poll=0.05))
    seen = []
    (result,) = launch(
        engine,
        [RunSpec("wrong", wrong)],
        logs=tmp_path / "logs",
        on_event=lambda name, event: seen.append(event["phase"]),
    )
    assert result.returncode == 2 and engine.count == 2
    assert len(seen) == 1 and seen[0].startswith("requeued (job ")
    assert f"ekipl: {wrong} is not valid YAML" in result.log.read_text().splitlines()[-1]
