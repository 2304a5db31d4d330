"""What MLflow's pages show first, comparisons, and runs moved to another store."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import pytest

from ekipl_lab import tracking
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import DataError
from ekipl_lab.tracking import transfer
from ekipl_lab.tracking.checkpoints import BEST_TAG, best_of
from ekipl_lab.tracking.comparison import comparison_run, describe, join
from ekipl_lab.tracking.pages import (
    NOTE_TAG,
    PARENT_TAG,
    VIEW_TAG,
    app_link,
    arrange_list,
    columns,
    start_address,
)
from ekipl_lab.tracking.traces import TracedAnswer, TracedPrompt, log_traces
from ekipl_lab.tracking.transfer import export_run, import_run

GREEDY = "eval/test/accuracy_greedy"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/one/mlflow.db")
    return tmp_path


def finished(home: Path, values: dict[int, float], name: str = "arm") -> str:
    """A run with a checkpoint for each step, of this greedy accuracy."""
    folder = home / "policy"
    folder.mkdir(exist_ok=True)
    with tracking.open_run("demo", name, {"seed": 1}, {"a": 1}) as run:
        for step, value in values.items():
            (folder / "w").write_text(f"weights {step}")
            run.log_metrics({GREEDY: value, "reward": float("nan")}, step)
            run.log_checkpoint(folder, step, {GREEDY: value})
        run.log_text("hello", "notes/hello.txt")
    return run.run_id


def test_checkpoints_are_outputs_of_their_run_and_the_best_is_marked(home: Path) -> None:
    run_id = finished(home, {0: 0.25, 2: 0.75, 4: 0.75, 6: 0.5})
    saved = tracking.list_checkpoints(run_id)
    outputs = tracking.client().get_run(run_id).outputs.model_outputs
    assert {(o.model_id, o.step) for o in outputs} == {(m.id, m.step) for m in saved}
    found = best_of(saved)
    assert found is not None and (found[0].step, found[1]) == (2, GREEDY)
    models = [tracking.client().get_logged_model(m.id) for m in saved]
    assert [m.tags.get(BEST_TAG) for m in models] == [None, f"highest {GREEDY}", None, None]
    assert tracking.find_run(run_id).tags["ekipl.best_checkpoint"].startswith("arm-step-000002 (")
    assert best_of([]) is None


def test_mlflow_opens_where_the_latest_run_is(home: Path) -> None:
    root = "http://127.0.0.1:5000"
    tracking.ensure_store()
    kind = "workflowType=machine_learning"
    assert start_address(tracking.client(), root).endswith(f"?{kind}")
    with tracking.open_run("study-screen", "cell") as run:
        pass
    experiment = tracking.client().get_experiment(run.experiment_id)
    assert "study screen" in experiment.tags[NOTE_TAG]
    assert json.loads(experiment.tags[VIEW_TAG])["selectedColumns"] == columns()
    assert len(columns()) == len(columns(["validation"])) == 10
    address = start_address(tracking.client(), root)
    assert address.startswith(f"{root}/#/experiments/{run.experiment_id}/runs?{kind}&")


def test_the_list_shows_the_sets_of_the_latest_run(home: Path) -> None:
    def shown(experiment_id: str) -> list[str]:
        tags = opened.get_experiment(experiment_id).tags
        return json.loads(tags[VIEW_TAG])["selectedColumns"] if VIEW_TAG in tags else []

    with tracking.open_run("ekipl", "own data") as run:
        pass
    opened = tracking.client()
    arrange_list(opened, run.experiment_id, ["validation"])
    assert [name for name in shown(run.experiment_id) if name.startswith("metrics.`eval/")] == [
        "metrics.`eval/validation/accuracy_greedy`",
        "metrics.`eval/validation/pass_at_1`",
    ]
    arrange_list(opened, run.experiment_id, [])  # a run that measures nothing changes nothing
    assert shown(run.experiment_id) == columns(["validation"])
    foreign = opened.create_experiment("there before")
    arrange_list(opened, foreign, ["validation"])
    assert shown(foreign) == []


def test_arms_lie_under_their_comparison_and_are_reported_together(home: Path) -> None:
    arms = [finished(home, {}, name) for name in ("a", "b")]
    parent = comparison_run("demo", ["a", "b"], {"lr": 1})
    for run_id in arms:
        join(run_id, parent)
    describe(parent.run_id, ["One.", "Two."])
    assert comparison_run("demo", ["a", "b"], {"lr": 1}).run_id == parent.run_id
    assert comparison_run("demo", ["a", "b"], {"lr": 2}).run_id != parent.run_id
    assert comparison_run("demo", ["a", "b"], {"lr": 1}, fresh=True).run_id != parent.run_id
    assert tracking.find_run(parent.run_id).tags[NOTE_TAG] == "One.\n\nTwo."
    assert all(tracking.find_run(i).tags[PARENT_TAG] == parent.run_id for i in arms)
    finished(home, {}, "before")
    alone = finished(home, {}, "alone")
    runs = {run.run_id: run for run in tracking.list_runs(status="FINISHED")}
    assert [r.name for r in tracking.run_together(runs[alone], list(runs.values()))] == ["alone"]
    both = tracking.run_together(runs[arms[1]], list(runs.values()))
    assert sorted(run.name for run in both) == ["a", "b"]


def test_arms_that_moved_to_another_store_are_still_together(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [finished(home, {}, name) for name in ("a", "b")]
    parent = comparison_run("demo", ["a", "b"], {"lr": 1})
    for run_id in arms:
        join(run_id, parent)
    alone = finished(home, {}, "alone")
    files = [export_run(run_id, home / f"{run_id}.zip")[0] for run_id in (alone, *arms)]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/two/mlflow.db")
    moved = {run.name: run for run in map(tracking.find_run, map(import_run, files))}
    together = {
        name: sorted(one.name for one in tracking.run_together(run, list(moved.values())))
        for name, run in moved.items()
    }
    assert together == {"a": ["a", "b"], "b": ["a", "b"], "alone": ["alone"]}


def test_the_data_of_a_run_move_with_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tracking.open_run("demo", "arm") as log:
        log.log_dataset("my tiles.yaml/floor/train", "7d53e7b3a9b4319e", "training")
        log.log_dataset("my tiles.yaml/floor/test", "c77935eabc23c5e6", "test set")

    def data(run_id: str) -> list[tuple[str, ...]]:
        return sorted(
            (one.dataset.name, one.dataset.digest, one.dataset.source, one.tags[0].value)
            for one in tracking.client().get_run(run_id).inputs.dataset_inputs
        )

    before = data(log.run_id)
    path, _ = export_run(log.run_id, home / "run.zip")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/two/mlflow.db")
    assert len(before) == 2 and data(import_run(path)) == before


def test_a_run_moves_to_another_store(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = finished(home, {0: 0.25, 2: 0.75})
    before = tracking.find_run(run_id)
    path, left_out = export_run(run_id, home / "run.zip")
    assert left_out == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/two/mlflow.db")
    moved = tracking.find_run(import_run(path))
    assert (moved.name, moved.experiment, moved.status) == ("arm", "demo", "FINISHED")
    assert (moved.start, moved.end, moved.params) == (before.start, before.end, before.params)
    assert tracking.metric_history(moved.run_id, [GREEDY]) == {GREEDY: [(0, 0.25), (2, 0.75)]}
    assert tracking.read_config(moved.run_id) == {"a": 1}
    assert tracking.run_artifact(moved, "notes/hello.txt").read_text() == "hello"
    saved = tracking.list_checkpoints(moved.run_id)
    assert [(m.step, m.metrics[GREEDY]) for m in saved] == [(0, 0.25), (2, 0.75)]
    assert (saved[1].folder() / "w").read_text() == "weights 2"
    with pytest.raises(DataError, match="is here already, as arm"):
        import_run(path)
    assert [run.run_id for run in tracking.list_runs()] == [moved.run_id]
    assert main(["runs", "list"]) == 0
    assert main(["runs", "show", moved.run_id[:8]]) == main(["runs", "show", "arm"]) == 0
    said = capsys.readouterr().out
    assert "75.0 %" in said and "best: step 2" in said and "notes/hello.txt" in said


def test_a_run_that_has_moved_twice_is_still_the_same_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back in the first store, or from two of them in a third, it would count twice."""
    stores = [f"sqlite:///{home}/{name}/mlflow.db" for name in ("one", "two", "three")]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores[0])
    here, _ = export_run(finished(home, {0: 0.25}), home / "first.zip")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores[1])
    there, _ = export_run(import_run(here), home / "second.zip")
    for place, taken in ((0, there), (1, there), (2, here), (2, there)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", stores[place])
        if place == 2 and taken == here:
            import_run(taken)
        with pytest.raises(DataError, match="is here already, as arm"):
            import_run(taken)
        assert len(tracking.list_runs()) == 1


def test_an_import_that_was_killed_or_failed_leaves_nothing_that_counts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = export_run(finished(home, {0: 0.25}), home / "run.zip")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/two/mlflow.db")

    def fails(*_: object, **__: object) -> None:
        raise OSError("no such place")

    with monkeypatch.context() as patch:
        patch.setattr(transfer.checkpoints, "register", fails)
        with pytest.raises(DataError, match="no such place"):
            import_run(path)
        assert not [p for p in (home / "two").rglob("*") if p.is_file() and "artifacts" in p.parts]
        patch.setattr(transfer, "_drop", lambda *_: None)  # as if it had been killed there
        with pytest.raises(DataError, match="no such place"):
            import_run(path)
    (half,) = tracking.list_runs(status="RUNNING")
    with pytest.raises(DataError, match="is here already"):  # its process lives: it goes on
        import_run(path)
    tracking.client().set_tag(half.run_id, "ekipl.pid_started", "1.00")
    assert [run.run_id for run in tracking.list_runs()] != [import_run(path)]
    (run,) = tracking.list_runs()
    assert run.status == "FINISHED" and run.run_id != half.run_id


def test_a_file_that_was_taken_out_of_an_export_is_missed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = export_run(finished(home, {0: 0.25}), home / "run.zip")
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(home / "less.zip", "w") as less:
        for name in whole.namelist():
            if not name.endswith("hello.txt"):
                less.writestr(name, whole.read(name))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/two/mlflow.db")
    with pytest.raises(DataError, match=r"artifacts/notes/hello.txt is missing"):
        import_run(home / "less.zip")
    assert tracking.list_runs() == []


def test_what_is_no_run_is_refused_and_leaves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "broken.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="is no run that"):
        import_run(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("run.json", json.dumps({"form": "other"}))
    with pytest.raises(DataError, match="is no run that"):
        import_run(path)
    whole = export_run(finished(home, {0: 0.25}), home / "whole.zip")[0].read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/two/mlflow.db")
    with zipfile.ZipFile(home / "whole.zip") as file:
        entries = {one.filename: one for one in file.infolist()}
        about = json.loads(file.read("run.json")) | {"files": []}
    data = entries["run.json"].header_offset + 30 + len("run.json")
    central = whole.rindex(b"PK\x01\x02")
    for at in (*range(data, data + 40), central + 10, central + 11, len(whole) - 4):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        with pytest.raises(DataError, match="is no run that"):
            import_run(path)
    for wrong in ({"metrics": {"a": [1]}}, {"tags": None}, {"models": None}, {"status": "DONE"},
                  {"experiment": ""}, {"name": [1]}, {"start": "x"}, {"run_id": None}):  # fmt: skip
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("run.json", json.dumps(about | wrong))
        with pytest.raises(DataError, match=rf"is no run that .*{next(iter(wrong))}"):
            import_run(path)
    for wrong in ({"metrics": {"a b|c": [[1, 0.5, 1]]}}, {"experiment": "x" * 2000}):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("run.json", json.dumps(about | wrong))
        with pytest.raises(DataError, match="The store did not take the run of"):
            import_run(path)
    assert tracking.list_runs() == []
    with tracking.open_run("demo", "going on") as run, pytest.raises(DataError, match="still run"):
        export_run(run.run_id, home / "x.zip")
    assert not (home / "x.zip").exists()


def test_a_prompt_is_a_trace_of_its_run(home: Path) -> None:
    pixel = "data:image/png;base64,iVBORw0KGgo="
    answers = [TracedAnswer("policy", "<b>4</b>", {"accuracy": None}, {"kept": True})]
    with tracking.open_run("demo", "arm") as run:
        log_traces(run, [TracedPrompt("group, step 2", "s/1", "How many?", "4", [pixel], answers)])
    (trace,) = tracking.client().search_traces(locations=[run.experiment_id])
    assert trace.info.trace_metadata["mlflow.sourceRun"] == run.run_id
    root, answer, reward = trace.data.spans
    assert (root.name, answer.outputs) == ("group, step 2", "<b>4</b>")
    assert (reward.parent_id, reward.outputs) == (answer.span_id, {"accuracy": None})


def test_runs_of_one_seed_keep_traces_of_their_own(home: Path) -> None:
    """Spans take ids from Python's random state otherwise, which a trainer has seeded."""
    prompt = TracedPrompt("test, step 2", "s/1", "How many?", "4", [], [])
    for name in ("grpo", "ekipl"):
        with tracking.open_run("demo", name) as run:
            random.seed(0)
            before = random.getstate()
            log_traces(run, [prompt])
            assert random.getstate() == before
    found = tracking.client().search_traces(locations=[run.experiment_id])
    assert len({trace.info.trace_metadata["mlflow.sourceRun"] for trace in found}) == 2


def test_a_run_leads_back_to_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EKIPL_APP_URL", raising=False)
    assert "(http://127.0.0.1:7860/?run=f00d)" in app_link("f00d")
    monkeypatch.setenv("EKIPL_APP_URL", "https://lab.example/app/")
    assert "(https://lab.example/app/?run=f00d)" in app_link("f00d")
