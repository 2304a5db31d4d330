"""Saved policies as MLflow LoggedModels: found by run, by step, or by the best metric."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import DataError
from ekipl_lab.files import check_sums
from ekipl_lab.tracking.artifacts import Artifacts
from ekipl_lab.tracking.queue import retrying
from ekipl_lab.tracking.store import client as open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from ekipl_lab.tracking.queries import RunInfo

#: Folders up to this size (bytes) are copied into the store; larger ones are kept by reference.
COPY_LIMIT = 64 << 20
MODEL_TYPE = "ekipl-policy"
_FOLDER_TAG = "ekipl.folder"
#: Marks the best checkpoint of a run; its value says by which metric.
BEST_TAG = "ekipl.best"
#: The metric that decides, where it was measured.
DEFAULT_METRIC = "eval/test/accuracy_greedy"


@dataclass(frozen=True, slots=True)
class LoggedCheckpoint:
    """A saved policy: ``folder()`` gives its files on this machine."""

    id: str
    run_id: str
    name: str
    step: int
    metrics: Mapping[str, float]
    location: str
    by_reference: bool

    def folder(self) -> Path:
        """The local folder, fetched from a server if need be. DataError if gone or damaged."""
        path = Path(self.location) if self.by_reference else Artifacts(self.location).fetch()
        if not path.is_dir():
            raise DataError(
                f"Checkpoint {self.name!r} of run {self.run_id} was kept by reference in {path}, "
                "which is gone; train again or restore the folder."
            )
        check_sums(path)
        return path


def register(
    client: MlflowClient,
    run: Run,
    folder: Path,
    step: int,
    points: Sequence[tuple[str, float, int]],
    *,
    copy: bool | None,
    replace: bool,
) -> str:
    """Create the LoggedModel of a saved policy; ``RunLog.log_checkpoint`` is the way here.

    ``points`` are (metric, value, timestamp) as the run has them, so that the store sees the same
    point again, now linked to the model. ``replace`` deletes earlier ones of the step.
    """
    if not folder.is_dir():
        raise DataError(f"Checkpoint folder {folder} does not exist.")
    run_id = run.info.run_id
    for old in _logged_models(client, run_id) if replace else []:  # half-made ones too
        if _checkpoint(old).step == step:
            retrying(client.delete_logged_model, old.model_id)
            Artifacts(old.artifact_location).remove()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    copied = size <= COPY_LIMIT if copy is None else copy
    name = f"{run.info.run_name or run_id}-step-{step:06d}"
    model = retrying(
        client.create_logged_model,
        run.info.experiment_id,
        name=re.sub(r"[/:.%\"']", "-", name),
        source_run_id=run_id,
        tags={} if copied else {_FOLDER_TAG: str(folder.resolve())},
        params={"step": str(step), "bytes": str(size)},
        model_type=MODEL_TYPE,
    )
    if copied:
        Artifacts(model.artifact_location).copy(folder)
    for key, value, stamp in points:
        link = {"timestamp": stamp, "step": step, "model_id": model.model_id}
        retrying(client.log_metric, run_id, key, value, **link)
    retrying(client.finalize_logged_model, model.model_id, "READY")
    _as_output(client, run_id, model.model_id, step)
    _mark_best(client, run_id)
    return str(model.model_id)


def _as_output(client: MlflowClient, run_id: str, model_id: str, step: int) -> None:
    """List the model among what its run gave."""
    from mlflow.entities import LoggedModelOutput

    retrying(client.log_outputs, run_id, [LoggedModelOutput(model_id, step)])


def best_of(rows: Sequence[LoggedCheckpoint]) -> tuple[LoggedCheckpoint, str] | None:
    """The checkpoint with the highest greedy accuracy on the first set, and that metric's name.

    The earlier one of equals; None where none was measured greedily.
    """
    names = [name for row in rows for name in row.metrics if name.endswith("/accuracy_greedy")]
    if not names:
        return None
    metric = next((name for name in names if name == DEFAULT_METRIC), sorted(names)[0])
    known = [row for row in rows if metric in row.metrics]
    return max(known, key=lambda row: (row.metrics[metric], -row.step)), metric


def _mark_best(client: MlflowClient, run_id: str) -> None:
    """Tag the best checkpoint of a run (`best_of`), the run with its name, and no other one."""
    models = [m for m in _logged_models(client, run_id) if str(m.status) == "READY"]
    found = best_of([_checkpoint(model) for model in models])
    if found is None:
        return
    best, metric = found
    for model in models:
        if model.model_id != best.id and BEST_TAG in model.tags:
            retrying(client.delete_logged_model_tag, model.model_id, BEST_TAG)
    retrying(client.set_logged_model_tags, best.id, {BEST_TAG: f"highest {metric}"})
    text = f"{best.name} ({metric} {best.metrics[metric]:.3f})"
    retrying(client.set_tag, run_id, "ekipl.best_checkpoint", text)


def list_checkpoints(run: str | RunInfo, order_by: str | None = None) -> list[LoggedCheckpoint]:
    """Checkpoints of a run, by step; with ``order_by`` (a metric's name) the best first."""
    if isinstance(run, str):
        found = _logged_models(open_client(), run)
    else:
        found = _logged_models(open_client(), run.run_id, run.experiment_id)
    rows = [_checkpoint(model) for model in found if str(model.status) == "READY"]
    rows.sort(key=lambda row: row.step)
    if order_by is not None:
        rows = [row for row in rows if order_by in row.metrics]
        rows.sort(key=lambda row: (-row.metrics[order_by], row.step))
    return rows


def find_checkpoint(model_id: str) -> LoggedCheckpoint:
    """A checkpoint by the id of its LoggedModel; DataError if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        model = open_client().get_logged_model(model_id)
    except MlflowException as error:
        raise DataError(f"There is no logged model {model_id!r} in this store.") from error
    return _checkpoint(model)


def _logged_models(client: MlflowClient, run_id: str, experiment: str = "") -> list[Any]:
    """All of a run, whatever their status."""
    experiment = experiment or client.get_run(run_id).info.experiment_id
    found: list[Any] = retrying(
        client.search_logged_models,
        [experiment],
        filter_string=f"source_run_id = '{run_id}'",
        max_results=1000,
    )
    return found


def _checkpoint(model: Any) -> LoggedCheckpoint:
    reference = model.tags.get(_FOLDER_TAG)
    metrics = sorted(model.metrics or [], key=lambda metric: metric.timestamp)
    return LoggedCheckpoint(
        id=model.model_id,
        run_id=model.source_run_id,
        name=model.name,
        step=int(model.params.get("step", -1)),
        metrics={metric.key: metric.value for metric in metrics},
        location=reference or model.artifact_location,
        by_reference=reference is not None,
    )
