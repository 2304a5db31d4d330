"""Runs, their checkpoints and what training recorded, as the store has them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app import samples
from app.filters import UNSOUND, matching_groups
from app.kept import remembered, stamp_of_folder, stamp_of_store
from app.marks import GroupMark, RunMarks, read_marks, search_groups, unsound_groups
from app.state import START, checkpoint_name
from ekipl_lab import records, tracking
from ekipl_lab.errors import ConfigError, DataError, MissingData
from ekipl_lab.tracking import store
from ekipl_lab.tracking.pages import PARENT_TAG
from ekipl_lab.types import ActionGroup

NO_RUN = (
    "Nothing has been trained here, so nothing is recorded. One command trains GRPO and EKIPL side "
    "by side; until then, Live shows the warm start beside the teachers."
)
NO_RECORDS = "This run has recorded no groups so far; they appear while it trains."
#: Artifact folder of a run that holds its group records.
RECORDS = "groups"
#: How many of the last runs are looked through for one that shows something.
LOOKED_AT = 8


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
        for run in _infos().values()
    ]


def info(run: str) -> tracking.RunInfo:
    """What the store has of a run; ConfigError for no such run."""
    require_run(run)
    return _infos()[run]


def _infos() -> dict[str, tracking.RunInfo]:
    """Run id -> the latest runs, latest first."""
    return remembered(("runs",), _ask, stamp=stamp_of_store) if has_store() else {}


def _ask() -> dict[str, tracking.RunInfo]:
    """Without the runs that only join others, such as a comparison's."""
    found = tracking.list_runs(limit=200)
    parents = {run.tags.get(PARENT_TAG) for run in found}
    return {run.run_id: run for run in found if run.run_id not in parents}


def choices() -> list[tuple[str, str]]:
    """Label and id of every run."""
    return [(run.label, run.id) for run in list_runs()] or [("no run yet", "")]


def latest() -> str:
    """The id of the latest run; empty if there is none."""
    return choices()[0][1]


def opening_run() -> str:
    """The latest of the last runs that has a group with a teacher kept where the policy failed.

    The latest run where none has; empty where there is no run.
    """
    for _, run in choices()[:LOOKED_AT]:
        if any(mark.taught for mark in list_marks(run)):
            return run
    return latest()


def has_store() -> bool:
    """Whether there is a store to ask; a missing SQLite file is not created only to be empty."""
    database = store.database()
    return database is None or database.is_file()


def is_known(run: str) -> bool:
    """Whether the store has such a run."""
    return run in _infos()


def require_run(run: str) -> None:
    """Raise ConfigError unless there is such a run."""
    if run not in _infos():
        what = f"There is no run {run!r}" if run else "No run is chosen, so only 'start' is there"
        raise ConfigError(f"{what}; choose a run from the list.")


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


def list_steps(run: str) -> list[int]:
    """Training steps that have group records, rising."""
    return list(_known(run).groups)


def count_groups(run: str, step: int) -> int:
    """Number of groups that were recorded at a step; 0 where there are none."""
    return _known(run).groups.get(step, 0)


def paid_by(run: str, step: int) -> float:
    """USD that the run had truly paid its teachers when that step was done; cached is free."""
    metric = "cost/teacher_paid_usd"
    history = remembered(
        ("paid", run), lambda: tracking.metric_history(run, [metric]), stamp=stamp_of_store
    )
    return max((value for at, value in history.get(metric, ()) if at <= step), default=0.0)


def load_recorded(run: str, step: int, group: int) -> ActionGroup:
    """One group as training recorded it, with its sample rebuilt where that is possible."""
    require_run(run)
    folder, steps = _records_folder(run), list_steps(run)
    if folder is None or not steps:
        raise DataError(NO_RECORDS)
    if step not in steps:
        known = f"{steps[0]} to {steps[-1]}"
        raise DataError(f"Step {step} has no recorded groups; recorded steps: {known}.")
    found = records.load_groups(folder, step, offset=group, limit=1)
    if not found:
        held = count_groups(run, step)
        raise DataError(f"Step {step} has {held} groups; there is no group {group + 1}.")
    return found[0].with_sample(samples.find_sample(config_of(run), found[0]))


def list_marks(run: str) -> tuple[GroupMark, ...]:
    """Every recorded group of a run in order; kept until its records change."""
    return _known(run).marks


def list_families(run: str) -> list[str]:
    """The families of a run's recorded groups."""
    return list(_known(run).families)


def list_difficulties(run: str) -> list[str]:
    """The difficulties of a run's recorded groups, the easiest first."""
    return list(_known(run).difficulties)


def list_groups(
    run: str, search: str = "", keep: str = "all", family: str = "", difficulty: str = ""
) -> tuple[tuple[int, int], ...]:
    """Step and group (from 0) of every recorded group, in order, that holds a text, is of a family
    and a difficulty, and that a filter (`filters.GROUP_FILTERS`) keeps."""
    search, family, difficulty = (
        text.encode("utf-8", "replace").decode() for text in (search, family, difficulty)
    )
    folder, known = _records_folder(run), _known(run)
    if folder is None or known.facts is None:
        return ()
    found = known.places
    if search:
        stamp = partial(stamp_of_folder, folder)
        key = ("search", run, search)
        found = remembered(key, lambda: search_groups(folder, search), stamp=stamp)
    if (keep, family, difficulty) == ("all", "", ""):
        return found
    kept = set(matching_groups(known.facts, keep, family, difficulty))
    if keep == UNSOUND:
        stamp = partial(stamp_of_folder, folder)
        kept &= set(remembered((UNSOUND, run), lambda: unsound_groups(folder), stamp=stamp))
    return tuple(place for place in found if place in kept)


def _known(run: str) -> RunMarks:
    """What is known of a run's groups at a glance; nothing where nothing is recorded."""
    folder = _records_folder(run)
    if folder is None:
        return RunMarks()
    stamp = partial(stamp_of_folder, folder)
    return remembered(("marks", run), lambda: read_marks(folder), stamp=stamp)


def opening_group(run: str) -> tuple[int, int]:
    """Step and group (from 0) that show something: the latest of the most telling kind; or (0, 0).

    Best is a right teacher action that was kept where the policy failed, then any kept teacher
    action in a group with spread, then any group with spread.
    """
    marks = list_marks(run)
    if not marks:
        return 0, 0
    best = max(marks, key=lambda m: (m.taught, m.teacher and not m.zero, not m.zero, m.step))
    return best.step, best.group


def _checkpoints(run: str) -> dict[str, tracking.LoggedCheckpoint]:
    """``step-<n>`` -> checkpoint, by step; none for an unknown run."""
    if (known := _infos().get(run)) is None:
        return {}
    found = remembered(
        ("checkpoints", run), lambda: tracking.list_checkpoints(known), stamp=stamp_of_store
    )
    return {f"step-{checkpoint.step}": checkpoint for checkpoint in found}


def _records_folder(run: str) -> Path | None:
    """The run's record folder, None if it has none (yet)."""
    if (known := _infos().get(run)) is None:
        return None
    try:
        return remembered(("records", run), lambda: tracking.run_artifact(known, RECORDS))
    except MissingData:
        return None
