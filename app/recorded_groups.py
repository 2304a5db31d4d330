"""The groups that a run's training recorded: which there are, which to open, and each of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from app import runs, samples
from app.filters import UNSOUND, matching_groups
from app.kept import remembered, stamp_of_folder
from app.marks import GroupMark, RunMarks, read_marks, search_groups, unsound_groups
from ekipl_lab import records, tracking
from ekipl_lab.errors import DataError, MissingData
from ekipl_lab.types import ActionGroup

NO_RECORDS = "This run has recorded no groups so far; they appear while it trains."
#: Artifact folder of a run that holds its group records.
RECORDS = "groups"
#: How many of the last runs are looked through for one that shows something.
LOOKED_AT = 8


def opening_run() -> str:
    """The latest of the last runs that has a group with a teacher kept where the policy failed.

    The latest run where none has; empty where there is no run.
    """
    for _, run in runs.choices()[:LOOKED_AT]:
        if any(mark.taught for mark in list_marks(run)):
            return run
    return runs.latest()


def list_steps(run: str) -> list[int]:
    """Training steps that have group records, rising."""
    return list(_known(run).groups)


def count_groups(run: str, step: int) -> int:
    """Number of groups that were recorded at a step; 0 where there are none."""
    return _known(run).groups.get(step, 0)


def load_recorded(run: str, step: int, group: int) -> ActionGroup:
    """One group as training recorded it, with its sample rebuilt where that is possible."""
    runs.require_run(run)
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
    return found[0].with_sample(samples.find_sample(runs.config_of(run), found[0]))


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


def _records_folder(run: str) -> Path | None:
    """The run's record folder, None if it has none (yet)."""
    if (known := runs.find(run)) is None:
        return None
    try:
        return remembered(("records", run), lambda: tracking.run_artifact(known, RECORDS))
    except MissingData:
        return None
