"""Runs, their configs, prices and checkpoints, as the store has them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.kept import remembered, stamp_of_store
from app.state import START, checkpoint_name
from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError, MissingData
from ekipl_lab.tracking import store
from ekipl_lab.tracking.pages import PARENT_TAG
from ekipl_lab.tracking.queries import MOST_RUNS

#: Runs that are listed; an older one is known by its whole id.
LATEST = 200
_ID = re.compile("[0-9a-f]{32}")
NO_RUN = (
    "Nothing has been trained here, so nothing is recorded. One command trains GRPO and EKIPL side "
    "by side; until then, Live shows the warm start beside the teachers."
)


@dataclass(frozen=True, slots=True)
class RunChoice:
    """A run that can be chosen; ``status`` is MLflow's (RUNNING, FINISHED, FAILED, KILLED)."""

    id: str
    name: str
    status: str
    started: float
    experiment: str = ""

    @property
    def label(self) -> str:
        """Name, time and, unless it simply finished, the status."""
        when = time.strftime("%d %b %H:%M", time.localtime(self.started))
        status = "" if self.status == "FINISHED" else f" · {self.status.lower()}"
        return f"{self.name} · {when}{status}"


def list_runs() -> list[RunChoice]:
    """Runs with group records or checkpoints to look at, latest first."""
    return [
        RunChoice(run.run_id, run.name, run.status, run.start, run.experiment)
        for run in infos().values()
    ]


def info(run: str) -> tracking.RunInfo:
    """What the store has of a run, also of one too old for the list; ConfigError for none."""
    if (known := find(run)) is None:
        what = f"There is no run {run!r}" if run else "No run is chosen, so only 'start' is there"
        raise ConfigError(f"{what}; choose a run from the list.")
    return known


def find(run: str) -> tracking.RunInfo | None:
    """A run of the latest, else of all; None for no such run."""
    known = infos().get(run)
    if known is None and _ID.fullmatch(run) and has_store():
        every = remembered(("every run",), lambda: _ask(MOST_RUNS), stamp=stamp_of_store)
        known = every.get(run)
    return known


def infos() -> dict[str, tracking.RunInfo]:
    """Run id -> the latest runs, latest first."""
    return remembered(("runs",), _ask, stamp=stamp_of_store) if has_store() else {}


def _ask(limit: int | None = None) -> dict[str, tracking.RunInfo]:
    """Without the runs that only join others, such as a comparison's."""
    found = tracking.list_runs(limit=limit or LATEST)
    parents = {run.tags.get(PARENT_TAG) for run in found}
    return {run.run_id: run for run in found if run.run_id not in parents}


def choices() -> list[tuple[str, str]]:
    """Label and id of every run."""
    return [(run.label, run.id) for run in list_runs()] or [("no run yet", "")]


def latest() -> str:
    """The id of the latest run; empty if there is none."""
    return choices()[0][1]


def has_store() -> bool:
    """Whether there is a store to ask; a missing SQLite file is not created only to be empty."""
    database = store.database()
    return database is None or database.is_file()


def is_known(run: str) -> bool:
    """Whether the store has such a run."""
    return find(run) is not None


def require_run(run: str) -> None:
    """Raise ConfigError unless there is such a run."""
    info(run)


def list_checkpoints(run: str) -> list[str]:
    """Names of what can be sampled: ``start``, then ``step-<n>`` by step (`checkpoint_name`)."""
    return [START, *(name for name in _checkpoints(run) if checkpoint_name(name) != START)]


def label_checkpoint(run: str, checkpoint: str) -> str:
    """A checkpoint's name for people, with its greedy accuracy where that was measured."""
    step = "start (step 0), before training" if checkpoint == START else checkpoint
    found = _checkpoints(run).get("step-0" if checkpoint == START else checkpoint)
    if found is None:
        return step
    # eval/<set>/accuracy_greedy, not that of one family
    measured = sorted(
        name for name in found.metrics if name.count("/") == 2 and name.endswith("/accuracy_greedy")
    )
    step = step if checkpoint == START else f"step {found.step}"
    if not measured:
        return step
    accuracy = found.metrics[measured[0]]
    return f"{step} · accuracy {accuracy:.2f} on {measured[0].split('/')[1]}"


def checkpoint_folder(run: str, checkpoint: str) -> Path:
    """The files of a saved checkpoint (not of ``start``)."""
    require_run(run)
    if checkpoint not in _checkpoints(run):
        known = ", ".join(list_checkpoints(run))
        raise ConfigError(f"Run {run!r} has no checkpoint {checkpoint!r}; it has: {known}.")
    return _checkpoints(run)[checkpoint].folder()


def config_of(run: str) -> dict[str, Any]:
    """The whole config of a run; ConfigError for no such run, empty where it logged none."""
    known = info(run)

    def ask() -> dict[str, Any]:
        try:
            return tracking.read_config(known)
        except MissingData:
            return {}

    return remembered(("config", run), ask, forever=True)


def paid_by(run: str, step: int) -> float:
    """USD that the run had truly paid its teachers when that step was done; cached is free."""
    metric = "cost/teacher_paid_usd"
    history = remembered(
        ("paid", run), lambda: tracking.metric_history(run, [metric]), stamp=stamp_of_store
    )
    return max((value for at, value in history.get(metric, ()) if at <= step), default=0.0)


def _checkpoints(run: str) -> dict[str, tracking.LoggedCheckpoint]:
    """``step-<n>`` -> checkpoint, by step; none for an unknown run."""
    if (known := find(run)) is None:
        return {}
    found = remembered(
        ("checkpoints", run), lambda: tracking.list_checkpoints(known), stamp=stamp_of_store
    )
    return {f"step-{checkpoint.step}": checkpoint for checkpoint in found}
