"""The working folder of a run: what it can be continued from, and what must not be loaded.

    mlruns/work/<name>/
      lock                      held while a process trains this run
      run.json                  MLflow run id and the config it was started with
      checkpoints/checkpoint-N  model, optimiser, random states, trainer state; complete.json last
      evaluation/step-N/        finished evaluations (Parquet)
      result.json               there once the run has finished

A checkpoint counts only with ``complete.json``, which is written after everything else is on disk
and lists every file with its SHA-256: one that is half-written or damaged is never loaded. The last
``keep`` complete ones stay. Notes (`files.write_note`) carry a SHA-256 of their own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import file_digests, remove, write_sums
from ekipl_lab.files import read_note as read_note
from ekipl_lab.files import write_note as write_note

MARKER = "complete.json"
#: Settings that decide when and at what cost an action is bought, not which it is.
PURCHASE = re.compile(
    r"prefetch\.|teachers\.\d+\.(members\.\d+\.)?gateway\."
    r"(budget|in_flight|requests_per_minute|tokens_per_minute|timeout|retries|backoff|max_wait"
    r"|offline|account|price)(\.|$)"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint; ``extra`` is what the run noted beside it (costs so far)."""

    folder: Path
    step: int
    extra: Mapping[str, Any]


def mark_complete(folder: Path, step: int, extra: Mapping[str, Any]) -> None:
    """Declare a checkpoint finished, once every file of it is on disk."""
    files = write_sums(folder, leave_out=[MARKER], on_disk=True)
    note = {"step": step, "files": files, "extra": dict(extra)}
    write_note(folder / MARKER, note)


def is_whole(folder: Path) -> bool:
    """Whether a folder is marked complete and every file is as it was then."""
    try:
        note = read_note(folder / MARKER)
        return note is not None and note["files"] == file_digests(folder, leave_out=[MARKER])
    except (DataError, KeyError):
        return False


def complete_checkpoints(folder: Path) -> list[Checkpoint]:
    """All checkpoints that are whole, by step."""
    found = []
    for path in filter(is_whole, _marked(folder)):
        note = read_note(path / MARKER) or {}
        found.append(Checkpoint(path, note["step"], note["extra"]))
    return found


def latest_checkpoint(
    folder: Path, warn: Callable[[str], None] = lambda text: None
) -> Checkpoint | None:
    """The last whole checkpoint; half-written and damaged ones are deleted on the way.

    ``warn`` is called with a sentence on each damaged one.
    """
    marked = _marked(folder)
    for path in folder.glob("checkpoint-*"):
        if path not in marked and _is_own(path):
            remove(path)
    for path in reversed(marked):
        if is_whole(path):
            note = read_note(path / MARKER) or {}
            return Checkpoint(path, note["step"], note["extra"])
        warn(f"Checkpoint {path} is damaged and was deleted; the run goes on from the one before.")
        shutil.rmtree(path)
    return None


def prune(folder: Path, keep: int) -> None:
    """Delete all but the last ``keep`` complete checkpoints."""
    for path in _marked(folder)[:-keep]:
        (path / MARKER).unlink()  # no longer whole from here on
        shutil.rmtree(path)


def check_same_config(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> None:
    """ConfigError that names what changed, if a run would go on with another config.

    How actions are bought may change (`PURCHASE`): a used-up budget is raised, and the run goes on.
    """
    before, after = (
        {key: value for key, value in _flat(config).items() if not PURCHASE.match(key)}
        for config in (old, new)
    )
    changed = [
        f"{key} {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if changed:
        raise ConfigError(
            f"Run {name!r} was started with another config ({'; '.join(changed[:4])}); give "
            "--fresh to start anew, or name=... to start another run."
        )


def _marked(folder: Path) -> list[Path]:
    """The checkpoints that were completed, by step; they may be damaged since."""
    found = [marker.parent for marker in folder.glob(f"checkpoint-*/{MARKER}")]
    return sorted(filter(_is_own, found), key=lambda path: int(path.name.rpartition("-")[2]))


def _is_own(path: Path) -> bool:
    """Whether a run wrote it: a copy that somebody set aside (``checkpoint-8-old``) is theirs."""
    return re.fullmatch(r"checkpoint-\d+", path.name, re.ASCII) is not None


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        pairs = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        pairs = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return {prefix.rstrip("."): value}
    flat: dict[str, Any] = {}
    for key, inner in pairs:
        flat |= _flat(inner, f"{prefix}{key}.")
    return flat
