"""One run: its life (RUNNING, then FINISHED, FAILED or KILLED) and everything it logs."""

from __future__ import annotations

import json
import math
import re
import signal
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import yaml

from ekipl_lab.errors import ConfigError
from ekipl_lab.secrets import refuse_secrets, without_secrets
from ekipl_lab.tracking import checkpoints, provenance, store
from ekipl_lab.tracking.artifacts import Artifacts
from ekipl_lab.tracking.figures import FIGURES, FigureSums
from ekipl_lab.tracking.queries import (
    CONFIG_TAG,
    config_hash,
    find_run,
    metric_history,
    repair_stale_runs,
)
from ekipl_lab.tracking.queue import MetricQueue, retrying

if TYPE_CHECKING:
    from mlflow import MlflowClient

_METRIC_NAME = re.compile(r"[\w\-. :/]+")
#: The ends a run can come to.
STATES = ("FINISHED", "FAILED", "KILLED")
_LONGEST_PARAM = 6000
_TABLES_TAG = "mlflow.loggedArtifacts"


class RunLog:
    """A run that is open for logging; ``open_run`` makes one.

    As a context manager it closes itself: FINISHED at a normal end, KILLED after
    KeyboardInterrupt (SIGTERM is turned into one), FAILED after any other exception.
    Metrics are written in the background; ``flush`` (at evaluations and saves) waits for them.
    """

    def __init__(self, client: MlflowClient, run_id: str, *, resumed: bool) -> None:
        self.run_id = run_id
        self.resumed = resumed
        self._client = client
        self._run = run = client.get_run(run_id)
        self.experiment_id = run.info.experiment_id
        self.artifacts = Artifacts(run.info.artifact_uri)
        self._queue = MetricQueue(client, run_id)
        self._logged = {m.key: m.step for m in run.data._metric_objs} if resumed else {}
        self._figures = FigureSums(metric_history(run_id) if resumed else {})
        self._last: dict[str, tuple[int, int]] = {}  # metric: its last step and timestamp
        self._closed = False
        self._previous: Any = None

    def log_metrics(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Log values at a step without waiting; None is left out.

        After a resume, points that the run already has are not logged again. Raises ConfigError
        for a name that MLflow cannot store (write ``pass_at_4``, not ``pass@4``).
        """
        now = int(time.time() * 1000)
        points = {name: float(value) for name, value in metrics.items() if value is not None}
        for name in points:
            if not _METRIC_NAME.fullmatch(name):
                raise ConfigError(
                    f"Metric {name!r} has a sign that MLflow cannot store; use letters, digits and "
                    "_-./ only (pass_at_4, not pass@4)."
                )
        new = {n: v for n, v in points.items() if step > self._logged.get(n, -1)}
        self._last.update(dict.fromkeys(new, (step, now)))
        if new:
            from mlflow.entities import Metric

            self._queue.put([Metric(n, _finite(v), now, step) for n, v in new.items()])
        for name, value in new.items():
            self._figures.add(name, step, _finite(value))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log chosen parameters; one that the run already has keeps its first value."""
        from mlflow.entities import Param

        known = self._client.get_run(self.run_id).data.params
        new = {name: str(value) for name, value in params.items() if name not in known}
        for name, value in new.items():
            refuse_secrets(f"parameter {name!r}", value)
        changed = {n: str(v) for n, v in params.items() if known.get(n, str(v)) != str(v)}
        if changed:
            self.set_tags({"ekipl.changed_params": json.dumps(changed)})
        if new:
            values = [Param(name, value[:_LONGEST_PARAM]) for name, value in new.items()]
            retrying(self._client.log_batch, self.run_id, params=values)

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Keep the whole config as ``config.yaml``, and its hash as a tag."""
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        self.artifacts.write("config.yaml", text)
        self.set_tags({CONFIG_TAG: config_hash(config)})

    def log_text(self, text: str, name: str) -> None:
        """Keep a text as the artifact ``name``."""
        self.artifacts.write(name, text)

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Keep rows of plain values as ``tables/<name>.json``, which MLflow shows as a table.

        A table of the same name is replaced.
        """
        columns = list(dict.fromkeys(key for row in rows for key in row))
        data = [[row.get(column) for column in columns] for row in rows]
        path = f"tables/{name}.json"
        self.artifacts.write(path, json.dumps({"columns": columns, "data": data}))
        tag = self._client.get_run(self.run_id).data.tags.get(_TABLES_TAG, "[]")
        tables = json.loads(tag)
        if {"path": path, "type": "table"} not in tables:
            self.set_tags({_TABLES_TAG: json.dumps([*tables, {"path": path, "type": "table"}])})

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Copy a file, or a folder's content, into the artifact folder ``folder``."""
        self.artifacts.copy(Path(path), folder)

    def log_dataset(self, name: str, fingerprint: str, context: str) -> None:
        """Say on which data a run works: ``context`` is such as training, test or test_ood."""
        refuse_secrets(f"dataset {name!r}", fingerprint)
        given = provenance.dataset_input(name, fingerprint, context)
        retrying(self._client.log_inputs, self.run_id, [given])
        self.set_tags({f"{provenance.DATA_TAG}{context}": f"{name} {fingerprint}"})

    def log_checkpoint(
        self,
        folder: str | Path,
        step: int,
        metrics: Mapping[str, float] | None = None,
        *,
        copy: bool | None = None,
    ) -> str:
        """Register a saved policy as a LoggedModel with the metrics of its step; give its id.

        Small folders are copied into the store; with ``copy`` False, or by default above
        ``checkpoints.COPY_LIMIT``, only their path is kept. One of the same step is replaced.
        """
        values = {name: float(value) for name, value in (metrics or {}).items()}
        unseen = {n: v for n, v in values.items() if self._last.get(n, (None, 0))[0] != step}
        self.log_metrics(unseen, step)
        self.flush()
        points = [(n, _finite(v), self._timestamp(n, step)) for n, v in values.items()]
        return checkpoints.register(
            self._client, self._run, Path(folder), step, points, copy=copy, replace=self.resumed
        )

    def _timestamp(self, name: str, step: int) -> int:
        """When the run's own point of this step was logged, in milliseconds since 1970."""
        if name in self._last and self._last[name][0] == step:
            return self._last[name][1]
        points = self._client.get_metric_history(self.run_id, name)
        return int(next(point.timestamp for point in points if point.step == step))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags at once."""
        from mlflow.entities import RunTag

        for name, value in tags.items():
            refuse_secrets(f"tag {name!r}", value)
        values = [RunTag(name, str(value)) for name, value in tags.items()]
        retrying(self._client.log_batch, self.run_id, tags=values)

    def folder(self, name: str) -> Path:
        """A local folder to write in, kept as artifacts ``name/`` (group records live so).

        In a local store it is the artifact folder itself; for a server, ``flush`` sends it.
        """
        return self.artifacts.folder(name)

    def flush(self) -> None:
        """Wait until every metric and file is in the store; raise what went wrong meanwhile."""
        self._queue.flush()
        self.artifacts.sync()

    def close(self, status: str = "FINISHED") -> None:
        """Flush and set the end state; closing twice does nothing."""
        if self._closed:
            return
        if status not in STATES:
            raise ConfigError(f"A run cannot end as {status!r}; it ends as {', '.join(STATES)}.")
        self._closed = True
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
        try:
            self._queue.close()
            self.artifacts.sync()
            self._figures.write(self.artifacts)
            self.artifacts.seal()
        finally:
            retrying(self._client.set_terminated, self.run_id, status)

    def __enter__(self) -> RunLog:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._previous = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close("FINISHED")
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            self.close("KILLED")
        else:
            line = without_secrets(f"{type(error).__name__}: {error}")
            text = without_secrets("".join(traceback.format_exception(error)))
            try:
                self.set_tags({"ekipl.error": line[:500]})
                self.artifacts.write("error.txt", text)
            finally:
                self.close("FAILED")


def open_run(
    experiment: str,
    name: str,
    params: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
) -> RunLog:
    """Start a run, or with ``run_id`` go on with one; use it in a ``with`` statement.

    Runs whose process is gone are marked KILLED first. Git revision, package versions and the
    process are logged by themselves. Raises ConfigError for an unusable store, an unknown
    ``run_id`` and for a secret of the environment among what is to be logged.
    """
    refuse_secrets("the run's name, tags or parameters", repr((experiment, name, tags, params)))
    refuse_secrets("the run's config", json.dumps(config, default=str))
    client = store.client()
    repair_stale_runs()
    own = {"ekipl.name": name, **provenance.git_tags(), **provenance.process_tags()}
    given = {key: str(value) for key, value in (tags or {}).items()}
    if run_id is None:
        created = retrying(
            client.create_run, store.experiment_id(experiment), tags=given | own, run_name=name
        )
        log = RunLog(client, created.info.run_id, resumed=False)
    else:
        log = _continue(client, run_id, own)
    try:
        log.log_text(json.dumps(provenance.environment(), indent=1), "environment.json")
        log.set_tags(given)
        log.log_params(params or {})
        if config is not None:
            log.log_config(config)
    except BaseException:
        log.close("FAILED")
        raise
    return log


def _continue(client: MlflowClient, run_id: str, own: Mapping[str, str]) -> RunLog:
    before = find_run(run_id)
    pid = before.tags.get("ekipl.pid")
    if before.status == "RUNNING" and pid not in (None, own["ekipl.pid"]):
        raise ConfigError(
            f"Run {before.run_id} is still written by process {pid} on "
            f"{before.tags.get('ekipl.host')}; stop that one first."
        )
    log = RunLog(client, before.run_id, resumed=True)
    log.artifacts.unseal()
    if log.artifacts.local is not None:  # of the figures until here
        (log.artifacts.local / FIGURES).unlink(missing_ok=True)
    log.set_tags({**own, "ekipl.resumes": str(int(before.tags.get("ekipl.resumes", "0")) + 1)})
    retrying(client.update_run, before.run_id, status="RUNNING")
    return log


def _finite(value: float) -> float:
    """MLflow would turn infinity into 1.8e308, which ruins every curve: it is stored as NaN."""
    return value if math.isfinite(value) else math.nan


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
