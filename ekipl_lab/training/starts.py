"""How a run knows itself again: the note of its start and its MLflow run."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import remove
from ekipl_lab.tracking import RunLog, find_run, list_runs, open_run
from ekipl_lab.training import checkpoint

#: Tag of an MLflow run: the start, noted in ``run.json``, that made it.
START_TAG = "ekipl.start"

Settings = dict[str, Any]


def beginning(
    folder: Path,
    name: str,
    settings: Settings,
    *,
    fresh: bool,
    as_now: Callable[[Settings], Settings],
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The notes of an earlier start of this run and of its end, as far as there are any.

    ``as_now`` gives the settings that a start noted as they are read today. ConfigError for a start
    that does not fit ``settings``.
    """
    note = _earlier_start(folder, name, settings, fresh=fresh, as_now=as_now)
    return note, None if note is None else read_note(folder / "result.json")


def _earlier_start(
    folder: Path,
    name: str,
    settings: Settings,
    *,
    fresh: bool,
    as_now: Callable[[Settings], Settings],
) -> dict[str, Any] | None:
    if fresh and folder.is_dir():
        _set_aside(folder)
    elif (folder / _BEFORE).is_dir():
        _settle(folder)
    _check_kinds(folder)
    note = read_note(folder / "run.json")
    if note is not None and note["run_id"] is None:  # killed while its MLflow run was made
        note["run_id"] = made_by(name, note["start"])
        if note["run_id"] is None:
            note = None
    if note is None:  # what a start that was killed so early leaves is of no use to this one
        _clear(folder, ("start",))  # taught.json knows of what it is
    else:
        checkpoint.check_same_config(as_now(note["config"]), settings, name)
        try:
            find_run(note["run_id"])
        except DataError as error:
            raise ConfigError(
                f"Run {name!r} was started in MLflow run {note['run_id']}, which is gone; "
                "give --fresh to start anew."
            ) from error
    return note


#: Where a fresh start keeps what there was, until it is noted itself.
_BEFORE = ".before"


@contextlib.contextmanager
def undone(folder: Path, note: Mapping[str, Any] | None, main: bool) -> Iterator[None]:
    """What is loaded and checked before a run is noted: wrong use leaves things as they were.

    ``main``: whether this process does that for all.
    """
    try:
        yield
    except BaseException:
        if note is None and main:
            _clear(folder, ("start", "taught.json"))
            _settle(folder)
        raise


def _clear(folder: Path, names: Sequence[str]) -> None:
    for path in (folder / name for name in names):
        if path.exists():
            remove(path)


def _set_aside(folder: Path) -> None:
    """Move a run's files away, its note first: without one in the folder they can come back."""
    before = folder / _BEFORE
    if before.is_dir():  # of a fresh start that was killed
        _settle(folder)
    entries = [entry for entry in folder.iterdir() if entry.name not in ("lock", _BEFORE)]
    if not entries:
        return
    before.mkdir()
    for entry in sorted(entries, key=lambda entry: entry.name != "run.json"):
        entry.rename(before / entry.name)


def _settle(folder: Path) -> None:
    """Put back what a fresh start moved away, or delete it where that start has been noted."""
    before = folder / _BEFORE
    if not before.is_dir():
        return
    if not (folder / "run.json").exists():
        for entry in sorted(before.iterdir(), key=lambda entry: entry.name == "run.json"):
            if (folder / entry.name).exists():
                remove(folder / entry.name)
            entry.rename(folder / entry.name)
    remove(before)


#: What a run keeps in its folder.
_FOLDERS = ("checkpoints", "evaluation", "policies", "policy", "adapter", "start")
_FILES = ("run.json", "result.json", "teachers.json")


def _check_kinds(folder: Path) -> None:
    """DataError for a file where the run keeps a folder, or the other way round."""
    for name in (*_FOLDERS, *_FILES):
        path, kind = folder / name, "folder" if name in _FOLDERS else "file"
        if path.exists() and path.is_dir() != (kind == "folder"):
            raise DataError(
                f"{path} is no {kind}, which the run keeps there; put it back from a copy, or give "
                "--fresh to start anew."
            )


def made_by(name: str, start: str) -> str | None:
    """The MLflow run that a start made; None if it was killed before."""
    found = (run.run_id for run in list_runs(name=name) if run.tags.get(START_TAG) == start)
    return next(found, None)


@contextlib.contextmanager
def noted_run(
    folder: Path,
    note: Mapping[str, Any] | None,
    settings: Settings,
    *,
    opened: tuple[str, str, Mapping[str, Any], Mapping[str, Any]],
    tags: Mapping[str, str],
    first: Callable[[RunLog], None],
) -> Iterator[RunLog]:
    """The run's log in MLflow, noted in its folder.

    ``opened``: experiment, name, parameters and config of the MLflow run; ``first`` logs what is
    logged once.
    """
    path = folder / "run.json"
    start = note["start"] if note and "start" in note else secrets.token_hex(8)
    unlogged = (checkpoint.read_note(path) or {}).get("run_id") is None
    if note is None:  # so that a kill between here and the next note leaves no orphan
        checkpoint.write_note(path, {"run_id": None, "start": start, "config": settings})
        _settle(folder)
    run_id = note["run_id"] if note else None
    with open_run(*opened, {START_TAG: start, **tags}, run_id=run_id) as log:
        if unlogged:
            first(log)
        checkpoint.write_note(path, {"run_id": log.run_id, "start": start, "config": settings})
        yield log


def read_note(path: Path) -> dict[str, Any] | None:
    """A note of this run; ConfigError if it is damaged."""
    try:
        return checkpoint.read_note(path)
    except DataError as error:
        raise ConfigError(
            f"{error} Put it back from a copy, or give --fresh to start anew."
        ) from error
