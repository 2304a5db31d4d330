"""A user's own MLflow server, and ours, each started for real on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow_server import free_port, own_server, serving
from paths import ROOT

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError


def test_a_users_own_server_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Artifacts go through the server; group records that vanish here vanish there."""
    # What lies beside a server's store here (staging, cache) belongs into this test's folder.
    monkeypatch.setattr("ekipl_lab.tracking.store.project_root", lambda: tmp_path / "ours")
    checkpoint = tmp_path / "policy"
    checkpoint.mkdir()
    (checkpoint / "w").write_text("weights")
    with own_server(tmp_path) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert tracking.ensure_store() == uri
        assert tracking.store_folder() == tmp_path / "ours" / "mlruns"
        with (
            pytest.raises(KeyboardInterrupt),
            tracking.open_run("demo", "remote", {"a": 1}, {"b": 2}) as run,
        ):
            run.log_metrics({"reward": 0.5}, 3)
            folder = run.folder("groups")
            (folder / "one.parquet").write_text("1")
            (folder / "two.parquet").write_text("2")
            (folder / "half.parquet.tmp").write_text("half")
            run.flush()
            assert tracking.list_artifacts(run.run_id, "groups") == [
                "groups/one.parquet",
                "groups/two.parquet",
            ]
            run.log_checkpoint(checkpoint, 3, {"reward": 0.5})
            raise KeyboardInterrupt
        assert tracking.find_run(run.run_id).status == "KILLED"
        with tracking.open_run("demo", "remote", run_id=run.run_id) as again:
            folder = again.folder("groups")
            assert sorted(path.name for path in folder.iterdir()) == ["one.parquet", "two.parquet"]
            (folder / "two.parquet").unlink()
            (folder / "one.parquet").write_text("changed")
        info = tracking.find_run(run.run_id)
        assert (info.status, info.params, info.metrics) == (
            "FINISHED",
            {"a": "1"},
            {"reward": 0.5},
        )
        assert tracking.read_config(run.run_id) == {"b": 2}
        groups = tracking.run_artifact(run.run_id, "groups")
        assert [(path.name, path.read_text()) for path in groups.iterdir()] == [
            ("one.parquet", "changed")
        ]
        (saved,) = tracking.list_checkpoints(run.run_id, order_by="reward")
        assert (saved.folder() / "w").read_text() == "weights"
        with pytest.raises(ConfigError, match=uri):
            tracking.serve(free_port())
    assert (tmp_path / "theirs").is_dir()
    assert not (tmp_path / "ours" / "mlruns" / "mlflow.db").exists()


def test_our_server_shows_the_projects_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local)
    with tracking.open_run("demo", "shown") as run:
        run.log_metrics({"reward": 0.25}, 1)
    port = free_port()
    command = [sys.executable, "-m", "ekipl_lab", "mlflow", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": local}
    with serving(command, port, environment) as uri:
        with pytest.raises(ConfigError, match=f"Port {port} cannot be used"):
            tracking.serve(port)
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith(f"ekipl: Port {port}") and "--port" in done.stderr
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert [(r.name, r.metrics) for r in tracking.list_runs("demo")] == [
            ("shown", {"reward": 0.25})
        ]
