"""Runs in MLflow; no other module imports mlflow. Takes and gives plain values.

    with open_run("demo", "ekipl", params, config, tags) as run:     # FINISHED, FAILED or KILLED
        run.log_metrics({"policy/reward": 0.4}, step)                # in the background
        run.folder("groups")                                         # a folder kept as artifacts
        run.log_checkpoint(folder, step, {"eval/accuracy": 0.61})    # a LoggedModel; flushes
    metric_history(run_id)["policy/reward"]                          # [(step, value), ...]

``store`` where runs are kept; ``runlog`` one open run; ``queries`` reading; ``checkpoints``;
``artifacts`` files; ``queue`` metrics in the background; ``provenance``; ``guard`` against secrets;
``server`` MLflow's page, ``pages`` what it shows first; ``comparison`` runs that belong together.
"""

from ekipl_lab.tracking.checkpoints import LoggedCheckpoint, find_checkpoint, list_checkpoints
from ekipl_lab.tracking.comparison import run_together
from ekipl_lab.tracking.queries import (
    RunInfo,
    changed_figures,
    check_run,
    find_run,
    list_artifacts,
    list_runs,
    metric_history,
    read_config,
    read_table,
    repair_stale_runs,
    run_artifact,
)
from ekipl_lab.tracking.runlog import RunLog, open_run
from ekipl_lab.tracking.server import serve
from ekipl_lab.tracking.store import client, ensure_store, store_folder, tracking_uri

__all__ = [
    "LoggedCheckpoint",
    "RunInfo",
    "RunLog",
    "changed_figures",
    "check_run",
    "client",
    "ensure_store",
    "find_checkpoint",
    "find_run",
    "list_artifacts",
    "list_checkpoints",
    "list_runs",
    "metric_history",
    "open_run",
    "read_config",
    "read_table",
    "repair_stale_runs",
    "run_artifact",
    "run_together",
    "serve",
    "store_folder",
    "tracking_uri",
]
