"""Four cells through each launcher, one killed on the way: the records of cells run here."""

import shutil
import signal
import subprocess
import sys

import pytest
import ray
from mlflow_server import own_server
from paths import ROOT
from slurm_here import slurm
from study_kit import KillJob, without_times, write_study

from ekipl_lab.commands.cli import main
from ekipl_lab.studies.cells import parse_event
from ekipl_lab.studies.config import load_study
from ekipl_lab.studies.launchers.gather import gather
from ekipl_lab.studies.plan import as_spec, plan_study
from ekipl_lab.studies.run import run_cell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
CHANGES = {"arms": {"grpo": None, "zero_shot": None}, "seeds": [0, 1],
           "set": {"grpo.max_steps": 8}}  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The study's file, its cells, and their records when run here without interruption."""
    folder = tmp_path_factory.mktemp("study")
    file = write_study(folder, **CHANGES)
    cells = plan_study(load_study(file))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/here/mlflow.db")
        (folder / "here").mkdir()
        for cell in cells:
            line = ["ekipl", *as_spec(cell, file, (), ()).words]
            run_cell(cell, line, lambda event: None)
    return file, cells, [without_times(cell.record) for cell in cells]


@pytest.fixture
def study(reference, tmp_path, monkeypatch):
    """The reference without its records, in another store."""
    for cell in reference[1]:
        cell.record.unlink(missing_ok=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return reference


def check(study, logs, capsys, *options, victim=0):
    """Run the study with the job of one cell killed; compare the records."""
    file, cells, expected = study
    killer = KillJob(cells[victim].name, file, logs / f"{cells[victim].name}.log")
    code = main(["compare", str(file), *options])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert killer.killed is not None
    log = (logs / f"{cells[victim].name}.log").read_text().splitlines()
    events = [event for event in map(parse_event, log) if event]
    begun = [e for e in events if (e.get("phase"), e.get("step")) == ("training", 0)]
    assert len(begun) == 1  # the second start went on
    assert [without_times(cell.record) for cell in cells] == expected
    return said.out


def test_through_submitit_on_this_machine(study, tmp_path, capsys):
    options = ("--launcher", "slurm", "--launcher-option", "cluster=local")
    said = check(study, tmp_path / "logs", capsys, *options, "--launcher-option", "poll=0.2")
    assert "requeued (job " in said


def test_through_one_mlflow_server_and_records_from_it(study, tmp_path, capsys, monkeypatch):
    """Two jobs at once that know of each other by the server alone; beside it lie its folders."""
    beside = ROOT / "mlruns"

    def clear():
        for path in (*beside.glob("work/tiny-t-*"), *beside.glob("logs/*tiny-t-*")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    clear()
    with own_server(tmp_path) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        options = ("--launcher", "slurm", "--launcher-option", "cluster=local")
        check(study, beside / "logs", capsys, *options, "--launcher-option", "poll=0.2")
        _, cells, expected = study
        for cell in cells:
            cell.record.unlink()
        assert gather(cells) == [cell.name for cell in cells]
        assert [without_times(cell.record) for cell in cells] == expected
    clear()


def test_through_ray_and_records_from_mlflow(study, tmp_path, capsys):
    options = ("--launcher", "ray", "--launcher-option", "poll=0.2")
    try:
        said = check(study, tmp_path / "logs", capsys, *options)
        assert "requeued (" in said
        _, cells, expected = study
        for cell in cells:
            cell.record.unlink()
        assert main(["compare", str(study[0]), *options]) == 0  # as on a machine that shares none
        assert "Records from MLflow: " in capsys.readouterr().out
        assert [without_times(cell.record) for cell in cells] == expected
    finally:
        ray.shutdown()


def test_through_a_real_slurm(study, tmp_path, capsys, monkeypatch):
    """Beside the kill a job is asked to leave, as before its time is up, and the watcher dies."""
    options = ("--launcher", "slurm", "--launcher-option", "poll=1")
    file, cells, _ = study
    logs = tmp_path / "logs"
    log = logs / f"{cells[0].name}.log"
    notes = [logs / "submitit" / f"{cell.name}.job" for cell in cells]
    with slurm(tmp_path / "slurm", monkeypatch):
        line = [sys.executable, "-m", "ekipl_lab", "compare", str(file), *options]
        watcher = subprocess.Popen(line, start_new_session=True)
        leaver = KillJob(cells[0].name, file, log, number=signal.SIGUSR2)
        leaver.join()
        watcher.kill()
        watcher.wait()
        before = [note.read_text() for note in notes]
        said = check(study, logs, capsys, *options, victim=2)
    assert said.count("requeued (job ") == 1
    after = [note.read_text() for note in notes]  # all but the killed one kept their job
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True]
    assert log.read_text().count('"phase": "starting"') == 2
