"""Reading what runs logged, as plain values: for reports, notebooks and the app."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ekipl_lab.errors import DataError, MissingData
from ekipl_lab.tracking import provenance
from ekipl_lab.tracking.artifacts import Artifacts
from ekipl_lab.tracking.figures import check_figures
from ekipl_lab.tracking.queue import retrying
from ekipl_lab.tracking.store import EXPERIMENT_TAG, client

#: Tag: the hash of the run's config (`config_hash`).
CONFIG_TAG = "ekipl.config_hash"
#: The most that MLflow gives at once.
MOST_RUNS = 50_000
#: libyaml's parser where it is there: a page reads the config of every run that it shows.
_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as the store has it; ``metrics`` are last values, times are seconds since 1970."""

    run_id: str
    name: str
    experiment: str
    status: str
    start: float
    end: float | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    artifact_uri: str
    experiment_id: str = ""


def list_runs(
    experiment: str | None = None,
    *,
    name: str | None = None,
    status: str | None = None,
    limit: int = 1000,
) -> list[RunInfo]:
    """Runs of this project, newest first; of one experiment, name or status if given."""
    opened = client()
    experiments = {
        found.experiment_id: found.name
        for found in opened.search_experiments(filter_string=f"tags.`{EXPERIMENT_TAG}` LIKE '%'")
        if experiment is None or found.name == experiment
    }
    if not experiments:
        return []
    wanted = {"run_name": name, "status": status}
    clauses = [f"attributes.{key} = {value!r}" for key, value in wanted.items() if value]
    runs = retrying(
        opened.search_runs,
        list(experiments),
        filter_string=" AND ".join(clauses),
        order_by=["attributes.start_time DESC"],
        max_results=limit,
    )
    return [_info(run, experiments[run.info.experiment_id]) for run in runs]


def find_run(run_id: str) -> RunInfo:
    """One run by its id, name, or how its id begins; MissingData if there is none or several."""
    opened = client()
    from mlflow.exceptions import MlflowException

    try:
        run = opened.get_run(run_id)
    except MlflowException as error:
        every = list_runs() if run_id else []
        named = [info for info in every if info.name == run_id]
        near = named or [info for info in every if info.run_id.startswith(run_id)]
        if len(near) == 1:
            return near[0]
        ids = ", ".join(info.run_id[:8] for info in near[:4]) + (", ..." if len(near) > 4 else "")
        how = "are called" if named else "have ids that begin with"
        raise MissingData(
            f"{len(near)} runs {how} {run_id!r} ({ids}); give more of an id."
            if near
            else f"No run is called {run_id!r} and no id begins so; `ekipl runs list` has them all."
        ) from error
    return _info(run, opened.get_experiment(run.info.experiment_id).name)


def _info(run: Any, experiment: str) -> RunInfo:
    return RunInfo(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        experiment=experiment,
        status=run.info.status,
        start=run.info.start_time / 1000,
        end=None if run.info.end_time is None else run.info.end_time / 1000,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
        artifact_uri=run.info.artifact_uri,
        experiment_id=run.info.experiment_id,
    )


def metric_history(
    run_id: str, names: Sequence[str] | None = None
) -> dict[str, list[tuple[int, float]]]:
    """Metric -> its (step, value) points by rising step, one a step (the last logged).

    DataError for a run that has ended and one that is not what it logged.
    """
    opened, info = client(), find_run(run_id)
    wanted = list(info.metrics) if names is None else list(names)
    history: dict[str, list[tuple[int, float]]] = {}
    for name in sorted(wanted):
        points = retrying(opened.get_metric_history, run_id, name)
        latest = {p.step: p.value for p in sorted(points, key=lambda p: (p.step, p.timestamp))}
        if latest:
            history[name] = sorted(latest.items())
    check_run(info, history)
    return history


def check_run(info: RunInfo, history: Mapping[str, list[tuple[int, float]]] | None = None) -> None:
    """DataError if a last value, or a point of ``history``, of a run that has ended is not what
    the run logged."""
    if info.status != "RUNNING":
        label = f"{info.name} ({info.run_id[:8]})"
        check_figures(label, info.metrics, _artifacts(info), history or {})


def run_artifact(run: str | RunInfo, name: str = "") -> Path:
    """A local path of a run's artifact (file or folder); DataError if there is none."""
    return _artifacts(run).fetch(name)


def list_artifacts(run: str | RunInfo, folder: str = "") -> list[str]:
    """Paths of all files among a run's artifacts below ``folder``."""
    return _artifacts(run).list(folder)


def _artifacts(run: str | RunInfo) -> Artifacts:
    return Artifacts((find_run(run) if isinstance(run, str) else run).artifact_uri)


def read_table(run_id: str, name: str) -> list[dict[str, Any]]:
    """Rows of a table that ``RunLog.log_table`` wrote."""
    table = json.loads(run_artifact(run_id, f"tables/{name}.json").read_text(encoding="utf-8"))
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def read_config(run: str | RunInfo) -> dict[str, Any]:
    """The whole config of a run; DataError if it is not the one that the run was given."""
    info = find_run(run) if isinstance(run, str) else run
    path = run_artifact(info, "config.yaml")
    try:
        config = dict(yaml.load(path.read_text(encoding="utf-8"), _YAML))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    if info.tags.get(CONFIG_TAG) not in (None, config_hash(config)):
        raise _damaged(path)
    return config


def _damaged(path: Path) -> DataError:
    return DataError(f"{path} is damaged: it is not the run's config; put it back from a copy.")


def config_hash(config: Mapping[str, Any]) -> str:
    """16 hex digits over a config, the same for the same settings in another order."""
    canonical = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def changed_figures() -> list[str]:
    """A sentence for each run that has ended and a last value of which is not what it logged."""
    found = []
    for run in list_runs(limit=MOST_RUNS):
        try:
            check_run(run)
        except DataError as error:
            found.append(str(error))
    return found


def repair_stale_runs() -> list[str]:
    """Mark runs as KILLED that say RUNNING while their process on this host is gone; their ids."""
    opened = client()
    stale = [run for run in list_runs(status="RUNNING") if provenance.process_is_gone(run.tags)]
    for run in stale:
        retrying(opened.set_terminated, run.run_id, "KILLED")
        retrying(opened.set_tag, run.run_id, "ekipl.repaired", "its process ended without a word")
    return [run.run_id for run in stale]
