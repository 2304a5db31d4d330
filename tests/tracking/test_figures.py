"""A figure that was changed in MLflow's database is noticed: the run kept what it logged."""

import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paths import ROOT

from ekipl_lab import tracking
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import DataError
from ekipl_lab.tracking.transfer import export_run, import_run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield folder / "mlflow.db"


def logged(run_id: str | None = None, steps: range = range(1, 4)) -> str:
    """A run of three metrics, one of them not a number, and a checkpoint with one of them."""
    with tracking.open_run("figures", "arm", run_id=run_id) as run:
        for step in steps:
            run.log_metrics({"reward": step / 7, "odd": math.inf, "lr": 1e-300}, step)
        run.log_checkpoint(ROOT / "assets/policies/counting", step, {"lr": 1e-300, "acc": 0.3})
    return run.run_id


def test_the_commands_name_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id, other = logged(), logged()
    assert main(["runs", "repair"]) == 0 and main(["runs", "show", run_id]) == 0
    with sqlite3.connect(store) as db:
        db.execute(
            "UPDATE latest_metrics SET value = 0.9 WHERE key = 'acc' AND run_uuid = ?", [run_id]
        )
    capsys.readouterr()
    assert main(["runs", "repair"]) == 1
    out = capsys.readouterr().out
    assert f"({run_id[:8]}): metric 'acc'" in out and other[:8] not in out
    assert main(["runs", "show", run_id]) == 2 and main(["runs", "show", other]) == 0


CHANGES = {
    "a last value": "UPDATE latest_metrics SET value = 0.9 WHERE key = 'acc'",
    "a point": "UPDATE metrics SET value = 0.9 WHERE key = 'reward' AND step = 2",
    "a last bit": "UPDATE metrics SET value = value + 1e-16 WHERE key = 'reward' AND step = 1",
    "a number for none": "UPDATE metrics SET value = 1, is_nan = 0 WHERE key = 'odd' AND step = 1",
    "another step": "UPDATE metrics SET step = 0 WHERE key = 'lr' AND step = 1",
    "a point taken out": "DELETE FROM metrics WHERE key = 'reward' AND step = 1",
    "a metric taken out": "DELETE FROM latest_metrics WHERE key = 'lr'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_figure_is_noticed_where_it_is_read(store: Path, change: str) -> None:
    run_id = logged()
    assert tracking.metric_history(run_id)["reward"] == [(1, 1 / 7), (2, 2 / 7), (3, 3 / 7)]
    with sqlite3.connect(store) as db:
        assert db.execute(f"{CHANGES[change]} AND run_uuid = ?", [run_id]).rowcount > 0
    readers: list[Callable[[], object]] = [
        lambda: tracking.metric_history(run_id),
        lambda: export_run(run_id, store.parent / "run.zip"),
        lambda: tracking.open_run("figures", "arm", run_id=run_id),
    ]
    for read in readers:
        with pytest.raises(
            DataError, match=r"metric '.*' in MLflow's database is not what the run"
        ):
            read()
    assert tracking.find_run(run_id).status == "FINISHED"


def test_runs_that_went_on_or_were_taken_in_keep_theirs(store: Path) -> None:
    run_id = logged()
    assert logged(run_id, range(4, 6)) == run_id
    path, _ = export_run(run_id, store.parent / "run.zip")
    with pytest.raises(DataError, match="here already"):
        import_run(path)
    tracking.client().delete_run(run_id)
    taken = import_run(path)
    history = tracking.metric_history(taken)
    assert [step for step, _ in history["reward"]] == [1, 2, 3, 4, 5]
    with sqlite3.connect(store) as db:
        db.execute("UPDATE metrics SET value = 0.9 WHERE run_uuid = ? AND step = 4", [taken])
    with pytest.raises(DataError, match="is not what the run logged"):
        tracking.metric_history(taken)


def test_a_run_that_is_open_or_was_killed_outright_is_read_as_it_is(store: Path) -> None:
    run_id = logged()
    run = tracking.open_run("figures", "arm", run_id=run_id)
    run.log_metrics({"reward": 0.7}, 9)
    run.flush()
    assert tracking.metric_history(run_id)["reward"][-1] == (9, 0.7)
    tracking.client().set_terminated(run_id, "KILLED")  # as repair says of one that is gone
    assert tracking.metric_history(run_id)["reward"][-1] == (9, 0.7)
    run.close()
    assert tracking.metric_history(run_id)["reward"][-1] == (9, 0.7)
