"""Runs in MLflow: what is logged comes back, and the end state tells the truth."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from kill_worker import started
from mlflow.entities import Metric
from paths import ROOT
from study_kit import wait_for

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import write_text
from ekipl_lab.tracking import store
from ekipl_lab.tracking.provenance import process_tags
from ekipl_lab.tracking.traces import TracedPrompt, log_traces

PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store of its own, in a folder whose name needs quoting in a URI."""
    folder = tmp_path_factory.mktemp("a store é")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield folder


def python(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_run_keeps_what_it_is_given(home: Path) -> None:
    config = {"task": "counting", "teachers": [{"type": "oracle", "accuracy": 0.9}]}
    with tracking.open_run(
        "demo", "ekipl", {"beta": 0.02}, config, {"ekipl.method": "ekipl"}
    ) as run:
        run.log_metrics({"policy/reward": 0.5, "policy/missing": None}, step=1)
        run.log_metrics({"policy/reward": 0.75}, step=2)
        run.log_table([{"family": "a", "accuracy": 0.5}, {"family": "b", "n": 3}], "eval")
        run.log_text("{}", "notes/a.json")
        run.log_dataset("mini/counting/train", "f00d", "training")
    info = tracking.find_run(run.run_id)
    assert (info.name, info.experiment, info.status) == ("ekipl", "demo", "FINISHED")
    assert info.params == {"beta": "0.02"}
    assert info.tags["ekipl.data.training"] == "mini/counting/train f00d"
    assert info.tags["ekipl.method"] == "ekipl"
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    assert info.tags.get("ekipl.git_revision", "") == head
    assert tracking.metric_history(run.run_id) == {"policy/reward": [(1, 0.5), (2, 0.75)]}
    assert tracking.read_config(run.run_id) == config
    assert tracking.read_table(run.run_id, "eval") == [
        {"family": "a", "accuracy": 0.5, "n": None},
        {"family": "b", "accuracy": None, "n": 3},
    ]
    assert tracking.run_artifact(run.run_id, "notes/a.json").read_text() == "{}"
    assert tracking.list_artifacts(run.run_id) == [
        "config.yaml",
        "environment.json",
        "metrics.json",
        "notes/a.json",
        "tables/eval.json",
    ]
    assert tracking.run_artifact(run.run_id).is_relative_to(home / "artifacts")


def test_an_artifact_name_stays_inside_the_run(home: Path) -> None:
    with tracking.open_run("demo", "paths") as run, pytest.raises(DataError, match="below"):
        run.log_text("x", "../outside.txt")
    with pytest.raises(DataError, match="below"):
        tracking.run_artifact(run.run_id, "/etc/hosts")
    with pytest.raises(DataError, match=r"'nothing\.txt'"):
        tracking.run_artifact(run.run_id, "nothing.txt")


def _killed(*_: object) -> None:
    raise InterruptedError


def test_checkpoints_are_found_by_step_and_by_metric(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    with tracking.open_run("demo", "checkpoints") as run:
        for step, accuracy in ((10, 0.25), (20, 0.75), (30, 0.5)):
            (folder / "weights").write_text(f"step {step}")
            run.log_metrics({"eval/accuracy": accuracy}, step)
            run.flush()
            run.log_checkpoint(folder, step, {"eval/accuracy": accuracy}, copy=step != 30)
    found = tracking.list_checkpoints(run.run_id)
    assert [(c.step, c.metrics["eval/accuracy"]) for c in found] == [
        (10, 0.25),
        (20, 0.75),
        (30, 0.5),
    ]
    assert (found[0].folder() / "weights").read_text() == "step 10"
    assert found[2].by_reference and found[2].folder() == folder
    best = tracking.list_checkpoints(run.run_id, order_by="eval/accuracy")
    assert [c.step for c in best] == [20, 30, 10]
    history = tracking.client().get_metric_history(run.run_id, "eval/accuracy")
    assert len(history) == 3, "linking a metric to its checkpoint must not log it twice"
    with tracking.open_run("demo", "checkpoints", run_id=run.run_id) as again:
        again.log_checkpoint(folder, 20, {"eval/accuracy": 0.75})
    replaced = tracking.list_checkpoints(run.run_id, order_by="eval/accuracy")
    assert [c.step for c in replaced] == [20, 30, 10] and replaced[0].id != best[0].id
    assert len(tracking.client().get_metric_history(run.run_id, "eval/accuracy")) == 3
    with tracking.open_run("demo", "checkpoints", run_id=run.run_id) as again:
        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(type(again._client), "finalize_logged_model", _killed)
            again.log_checkpoint(folder, 20, {"eval/accuracy": 0.75})
        assert [c.step for c in tracking.list_checkpoints(run.run_id)] == [10, 30]
        again.log_checkpoint(folder, 20, {"eval/accuracy": 0.75})
    assert [c.step for c in tracking.list_checkpoints(run.run_id)] == [10, 20, 30]
    everything = tracking.client().search_logged_models([again.experiment_id], max_results=100)
    assert len(everything) == 3, "what was killed half-way is gone"
    (folder / "weights").unlink()
    folder.rmdir()
    with pytest.raises(DataError, match="by reference"):
        found[2].folder()


def test_the_end_state_tells_what_happened(home: Path) -> None:
    with pytest.raises(ValueError), tracking.open_run("demo", "fails") as failed:
        raise ValueError("the loss is NaN")
    with pytest.raises(KeyboardInterrupt), tracking.open_run("demo", "stopped") as stopped:
        raise KeyboardInterrupt
    info = tracking.find_run(failed.run_id)
    assert (info.status, info.tags["ekipl.error"]) == ("FAILED", "ValueError: the loss is NaN")
    assert "test_tracking.py" in tracking.run_artifact(failed.run_id, "error.txt").read_text()
    assert tracking.find_run(stopped.run_id).status == "KILLED"


def open_until_it_ends(said: Path) -> None:
    """A run in a process of its own, open until a signal comes; its id goes to the file."""
    with tracking.open_run("demo", "child") as run:
        run.log_metrics({"a": 1.0}, step=0)
        run.flush()
        write_text(said, run.run_id)
        signal.pause()


@pytest.fixture
def child(home: Path, tmp_path: Path) -> tuple[BaseProcess, str]:
    """Such a process, and the id of its run."""
    said = tmp_path / "run"
    uri = os.environ["MLFLOW_TRACKING_URI"]
    process = started(open_until_it_ends, said, MLFLOW_TRACKING_URI=uri)
    return process, wait_for(lambda: said.exists() and said.read_text(), "the id of the run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_marks_the_run_as_killed(
    child: tuple[BaseProcess, str], number: signal.Signals
) -> None:
    process, run_id = child
    assert process.pid is not None and tracking.find_run(run_id).status == "RUNNING"
    os.kill(process.pid, number)
    process.join()
    assert tracking.find_run(run_id).status == "KILLED"


def test_a_run_whose_process_is_gone_is_repaired_at_the_next_start(
    child: tuple[BaseProcess, str],
) -> None:
    process, run_id = child
    with pytest.raises(ConfigError, match=f"process {process.pid}"):
        tracking.open_run("demo", "child", run_id=run_id)
    assert tracking.repair_stale_runs() == []
    process.kill()
    process.join()
    assert tracking.find_run(run_id).status == "RUNNING"
    with tracking.open_run("demo", "next"):
        info = tracking.find_run(run_id)
    assert info.status == "KILLED"
    assert "ekipl.repaired" in info.tags
    assert tracking.metric_history(run_id) == {"a": [(0, 1.0)]}


def test_a_process_with_a_reused_id_is_not_the_one_that_ran(home: Path) -> None:
    with tracking.open_run("demo", "reused") as run:
        run.set_tags({**process_tags(os.getpid()), "ekipl.pid_started": "12.00"})
        assert tracking.repair_stale_runs() == [run.run_id]


def test_resume_goes_on_with_the_same_run_and_logs_no_point_twice(home: Path) -> None:
    with pytest.raises(KeyboardInterrupt), tracking.open_run("demo", "r", {"lr": 1}) as run:
        for step in range(6):
            run.log_metrics({"loss": float(step)}, step)
        raise KeyboardInterrupt
    with tracking.open_run("demo", "r", {"lr": 2, "extra": 3}, run_id=run.run_id) as again:
        assert again.run_id == run.run_id and again.resumed
        for step in range(4, 8):
            again.log_metrics({"loss": float(step)}, step)
    info = tracking.find_run(run.run_id)
    assert (info.status, info.tags["ekipl.resumes"]) == ("FINISHED", "1")
    assert info.params == {"lr": "1", "extra": "3"}
    assert info.tags["ekipl.changed_params"] == '{"lr": "2"}'
    points = tracking.client().get_metric_history(run.run_id, "loss")
    assert sorted(p.step for p in points) == list(range(8))


def test_metrics_are_written_in_order_and_an_error_leaves_no_gap(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused(Exception):
        """What the store says."""

    with pytest.raises(Refused), tracking.open_run("demo", "refused") as run:
        original = run._client.log_batch

        def log_batch(run_id: str, metrics: Sequence[Metric] = (), **rest: object) -> None:
            if any(metric.step == 3 for metric in metrics):
                raise Refused
            original(run_id, metrics=metrics, **rest)

        monkeypatch.setattr(run._client, "log_batch", log_batch)
        for step in range(6):
            run.log_metrics({"loss": float(step)}, step)
        run.flush()
    points = tracking.client().get_metric_history(run.run_id, "loss")
    assert [point.step for point in points] == [0, 1, 2]
    assert tracking.find_run(run.run_id).status == "FAILED"


def test_a_limit_counts_the_runs_that_were_asked_for(home: Path) -> None:
    for name in ("sought", "later", "latest"):
        with tracking.open_run("demo", name):
            pass
    assert [run.name for run in tracking.list_runs(name="sought", limit=1)] == ["sought"]
    assert [run.name for run in tracking.list_runs(status="FINISHED", limit=2)] == [
        "latest",
        "later",
    ]


def test_secrets_of_the_environment_are_never_logged(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-12345678-hidden"
    monkeypatch.setenv("SOME_API_KEY", secret)
    before = len(tracking.list_runs())
    for bad in ({"params": {"key": secret}}, {"config": {"a": [secret]}}, {"tags": {"t": secret}}):
        with pytest.raises(ConfigError, match="SOME_API_KEY") as caught:
            tracking.open_run("demo", "leak", **bad)  # type: ignore[arg-type]
        assert secret not in str(caught.value)
    assert len(tracking.list_runs()) == before
    file = tmp_path / "trace.bin"
    file.write_bytes(b"\0" * 5_000_000 + secret.encode())
    with pytest.raises(RuntimeError), tracking.open_run("demo", "leak") as run:
        with pytest.raises(ConfigError, match="SOME_API_KEY"):
            run.log_artifact(file)
        with pytest.raises(ConfigError, match="SOME_API_KEY"):
            run.log_table([{"completion": f"my key is {secret}"}], "t")
        raise RuntimeError(f"401 for {secret}")
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in kept if secret.encode() in path.read_bytes()]
    error = tracking.run_artifact(run.run_id, "error.txt").read_text()
    assert "RuntimeError: 401 for <SOME_API_KEY>" in error


def test_wrong_use_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tracking.open_run("demo", "names") as run:
        with pytest.raises(ConfigError, match="pass_at_4"):
            run.log_metrics({"pass@4": 1.0}, 0)
        with pytest.raises(ConfigError, match="DONE"):
            run.close("DONE")
    with pytest.raises(DataError, match="'0000'"):
        tracking.find_run("0000")
    assert tracking.find_run(run.run_id[:12]).run_id == run.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    with pytest.raises(ConfigError, match="sqlite"):
        tracking.ensure_store()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:word@127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:9 .* does not answer") as caught:
        tracking.ensure_store()
    assert "word" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")
    with pytest.raises(ConfigError, match="cannot be opened"):
        tracking.ensure_store()


def test_the_default_store_is_in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert store.tracking_uri() == f"sqlite:///{ROOT}/mlruns/mlflow.db"
    assert store.store_folder() == ROOT / "mlruns"
    assert store.artifact_root() == (ROOT / "mlruns" / "artifacts").as_uri()


def test_two_processes_create_the_store_and_write_at_the_same_time(tmp_path: Path) -> None:
    code = """
from ekipl_lab.tracking import ensure_store, open_run
ensure_store()
with open_run("side by side", "arm") as run:
    for step in range(50):
        run.log_metrics({f"m{i}": float(step) for i in range(20)}, step)
        if step % 10 == 0: run.flush(); run.set_tags({"at": str(step)})
print(run.run_id)
"""
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    children = [python(code, MLFLOW_TRACKING_URI=uri) for _ in range(2)]
    ends = [(child.communicate(), child.returncode) for child in children]
    assert [code for _, code in ends] == [0, 0], ends
    with sqlite3.connect(tmp_path / "new" / "mlflow.db") as connection:
        rows = connection.execute("SELECT run_uuid, count(*) FROM metrics GROUP BY 1").fetchall()
        states = connection.execute("SELECT status FROM runs").fetchall()
    assert sorted(rows) == sorted((out.strip(), 1000) for (out, _), _ in ends)
    assert states == [("FINISHED",), ("FINISHED",)]


def test_a_moved_project_finds_its_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new place"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{old}/mlflow.db")
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "w").write_text("w")
    with tracking.open_run("demo", "moving") as run:
        run.log_text("here", "a.txt")
        run.log_checkpoint(tmp_path / "policy", 1)
        log_traces(run, [TracedPrompt("test, step 1", "s/1", "How many?", "4", [PIXEL], [])])
    old.rename(new)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new}/mlflow.db")
    assert tracking.run_artifact(run.run_id, "a.txt").read_text() == "here"
    (checkpoint,) = tracking.list_checkpoints(run.run_id)
    assert (checkpoint.folder() / "w").read_text() == "w"
    (trace,) = tracking.client().search_traces(locations=[run.experiment_id])
    place = Path(unquote(urlsplit(trace.info.tags["mlflow.artifactLocation"]).path))
    assert place.is_relative_to(new) and any(one.is_file() for one in place.rglob("*"))
    with tracking.open_run("demo", "after") as after:
        after.log_text("there", "a.txt")
    assert tracking.run_artifact(after.run_id, "a.txt").is_relative_to(new)


def test_an_experiment_that_was_there_before_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    theirs = (tmp_path / "theirs").as_uri()
    client = tracking.client()
    for name in ("theirs", "not ours"):
        client.create_run(client.create_experiment(name, artifact_location=theirs), run_name="old")
    with tracking.open_run("theirs", "new") as run:
        run.log_text("here", "a.txt")
    store._prepare.cache_clear()  # a new process opens the store
    assert tracking.run_artifact(run.run_id, "a.txt").is_relative_to(tmp_path / "theirs")
    assert [found.name for found in tracking.list_runs()] == ["new", "old"]
