"""A run as one file: out of one store, into another.

The file is a zip: ``run.json`` (name, times, parameters, tags, every metric point), ``artifacts/``
and ``models/<number>/`` with the weights of its checkpoints.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from ekipl_lab.errors import DataError, full_disk
from ekipl_lab.files import replacing
from ekipl_lab.secrets import refuse_secrets
from ekipl_lab.tracking import checkpoints, store
from ekipl_lab.tracking.artifacts import Artifacts
from ekipl_lab.tracking.pages import PARENT_TAG
from ekipl_lab.tracking.provenance import (
    DATA_TAG,
    dataset_input,
    process_is_gone,
    process_tags,
)
from ekipl_lab.tracking.queries import (
    MOST_RUNS,
    RunInfo,
    find_run,
    list_runs,
    metric_history,
)
from ekipl_lab.tracking.queue import BATCH, retrying
from ekipl_lab.validation import complaint

FORM = "ekipl-run/1"
#: What reading a damaged zip, or another one, raises.
_UNREADABLE = (
    OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, NotImplementedError,
)  # fmt: skip
#: Tag: the id that an imported run had where it was made.
_ORIGIN = "ekipl.imported_from"
#: Tags that are of the store or process that wrote the run.
_LOCAL = (PARENT_TAG, "ekipl.pid", "ekipl.pid_started", "ekipl.host", "mlflow.runName")


class _Model(BaseModel):
    step: int
    metrics: dict[str, float]


class _About(BaseModel):
    """What `run.json` must hold to be taken in."""

    form: Literal["ekipl-run/1"]
    run_id: str
    name: str
    experiment: Annotated[str, Field(min_length=1)]
    status: Literal["FINISHED", "FAILED", "KILLED", "SCHEDULED"]
    start: int
    end: int | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, list[tuple[int, float, int]]]
    models: list[_Model]
    files: list[str] = []


def export_run(
    run_id: str, out: Path | None = None, *, checkpoints: bool = True
) -> tuple[Path, list[str]]:
    """Write a run that has ended; the path, and a sentence for each part that is not in the file.

    Checkpoints kept by reference are left out. Raises DataError for a run that is still running.
    """
    info = find_run(run_id)
    if info.status == "RUNNING":
        raise DataError(
            f"Run {info.run_id} is still running; export it once it has ended (`ekipl runs "
            "repair` ends one whose process is gone)."
        )
    out = out or Path(f"{info.name.replace('/', '-')}-{info.run_id[:8]}.zip")
    models, left_out = _models(info.run_id) if checkpoints else ([], ["checkpoints"])
    with replacing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
        _add(file, Artifacts(info.artifact_uri).fetch(), "artifacts")
        for number, model in enumerate(models):
            _add(file, model.folder(), f"models/{number}")
        about = _about(info, models) | {"files": file.namelist()}
        file.writestr("run.json", json.dumps(about, default=str))
    return out, left_out


def _models(run_id: str) -> tuple[list[checkpoints.LoggedCheckpoint], list[str]]:
    found = checkpoints.list_checkpoints(run_id)
    left_out = [f"checkpoint {m.name}, kept in {m.location}" for m in found if m.by_reference]
    return [model for model in found if not model.by_reference], left_out


def _about(info: RunInfo, models: Sequence[checkpoints.LoggedCheckpoint]) -> dict[str, Any]:
    client = store.client()
    metric_history(info.run_id)  # DataError if a figure is not what the run logged
    points = {name: client.get_metric_history(info.run_id, name) for name in info.metrics}
    return {
        "form": FORM,
        "run_id": info.run_id,
        "name": info.name,
        "experiment": info.experiment,
        "status": info.status,
        "start": int(info.start * 1000),
        "end": None if info.end is None else int(info.end * 1000),
        "params": dict(info.params),
        "tags": {name: value for name, value in info.tags.items() if name not in _LOCAL},
        "metrics": {n: [[p.step, p.value, p.timestamp] for p in own] for n, own in points.items()},
        "models": [{"step": m.step, "metrics": dict(m.metrics)} for m in models],
    }


def _add(file: zipfile.ZipFile, folder: Path, name: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            file.write(path, f"{name}/{path.relative_to(folder).as_posix()}")


def import_run(path: Path, experiment: str | None = None) -> str:
    """Take a run in, whole or not at all; its new id.

    DataError if the file is not such a run, or the run is here already: it would count twice.
    """
    from mlflow.exceptions import MlflowException

    try:
        with zipfile.ZipFile(path) as file, tempfile.TemporaryDirectory() as folder:
            about = _About.model_validate(json.loads(file.read("run.json"))).model_dump()
            if lost := sorted(set(about["files"]) - set(file.namelist())):
                raise ValueError(f"{lost[0]} is missing")
            _refuse_twice(path, _ids(about["run_id"], about["tags"]))
            file.extractall(folder)  # members never leave the folder
            return _take_in(about, Path(folder), experiment or about["experiment"])
    except _UNREADABLE as error:
        if full_disk(error):
            raise
        found = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = complaint(found, ".".join(map(str, found["loc"]))) if found else error
        raise DataError(
            f"{path} is no run that `ekipl runs export` wrote, or it is damaged ({reason}); export "
            "it again."
        ) from error
    except MlflowException as error:  # such as a metric's name that it has no room for
        reason = str(error).splitlines()[0]
        raise DataError(f"The store did not take the run of {path}: {reason}") from error


def _ids(run_id: str, tags: Mapping[str, str]) -> set[str]:
    """The ids of a run: its own, and the one that it had where it was made."""
    return {run_id, tags.get(_ORIGIN, run_id)}


def _refuse_twice(path: Path, ids: set[str]) -> None:
    for run in list_runs(limit=MOST_RUNS):
        if not ids & _ids(run.run_id, run.tags):
            continue
        if run.status == "RUNNING" and _ORIGIN in run.tags and process_is_gone(run.tags):
            _drop(store.client(), run.run_id, run.artifact_uri)  # of an import that was killed
        else:
            raise DataError(
                f"The run of {path} is here already, as {run.name} ({run.run_id[:8]}); delete "
                "that one first to take it in anew."
            )


def _drop(client: Any, run_id: str, artifact_uri: str) -> None:
    """Delete a run that was only half taken in."""
    client.delete_run(run_id)
    if (folder := Artifacts(artifact_uri).local) is not None:
        shutil.rmtree(folder.parent, ignore_errors=True)


def _take_in(about: Mapping[str, Any], folder: Path, experiment: str) -> str:
    refuse_secrets("the imported run", json.dumps([about["params"], about["tags"]]))
    client = store.client()
    tags = {_ORIGIN: about["run_id"], **about["tags"], **process_tags()}  # the first id stays
    run = retrying(
        client.create_run,
        store.experiment_id(experiment),
        start_time=about["start"],
        tags=tags,
        run_name=about["name"],
    )
    run_id = str(run.info.run_id)
    try:
        _log(client, run_id, about)
        if (folder / "artifacts").is_dir():
            Artifacts(run.info.artifact_uri).copy(folder / "artifacts")
        for number, model in enumerate(about["models"]):
            step = model["step"]
            points = [
                (name, value, _stamp(about["metrics"].get(name, ()), step, about["start"]))
                for name, value in model["metrics"].items()
            ]
            weights = folder / "models" / str(number)
            checkpoints.register(client, run, weights, step, points, copy=True, replace=False)
        retrying(client.set_terminated, run_id, about["status"], about["end"])
    except BaseException:
        _drop(client, run_id, run.info.artifact_uri)
        raise
    return run_id


def _stamp(points: Sequence[Sequence[Any]], step: int, otherwise: int) -> int:
    """When a metric's point of a step was logged."""
    return next((int(stamp) for at, _, stamp in points if at == step), otherwise)


def _log(client: Any, run_id: str, about: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric, Param

    params = [Param(name, value) for name, value in about["params"].items()]
    metrics = [
        Metric(name, value, stamp, step)
        for name, own in about["metrics"].items()
        for step, value, stamp in own
    ]
    retrying(client.log_batch, run_id, params=params)
    inputs = [
        dataset_input(value.rpartition(" ")[0], value.rpartition(" ")[2], tag[len(DATA_TAG) :])
        for tag, value in about["tags"].items()
        if tag.startswith(DATA_TAG)
    ]
    if inputs:
        retrying(client.log_inputs, run_id, inputs)
    for start in range(0, len(metrics), BATCH):
        retrying(client.log_batch, run_id, metrics=metrics[start : start + BATCH])
