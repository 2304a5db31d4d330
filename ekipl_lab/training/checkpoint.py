"""The working folder of a run: what it can be continued from, and what must not be loaded.

    mlruns/work/<name>/
      lock                      held while a process trains this run
      run.json                  MLflow run id and the config it was started with
      checkpoints/checkpoint-N  model, optimiser, random states, trainer state; complete.json last
      evaluation/step-N/        finished evaluations (Parquet)
      result.json               there once the run has finished

A checkpoint counts only with ``complete.json``, which is written after everything else and lists
every file with its size: a half-written one is never loaded. The last ``keep`` complete ones stay.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.files import read_json, write_json

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
    """Declare a checkpoint finished."""
    write_json(folder / MARKER, {"step": step, "files": _sizes(folder), "extra": dict(extra)})


def complete_checkpoints(folder: Path) -> list[Checkpoint]:
    """All checkpoints that are whole, by step."""
    found = []
    for marker in folder.glob(f"checkpoint-*/{MARKER}"):
        note = read_json(marker)
        if note is not None and note["files"] == _sizes(marker.parent):
            found.append(Checkpoint(marker.parent, note["step"], note["extra"]))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The last whole checkpoint; broken and half-written ones are deleted on the way."""
    whole = complete_checkpoints(folder)
    for path in folder.glob("checkpoint-*"):
        if path not in [checkpoint.folder for checkpoint in whole]:
            shutil.rmtree(path)
    return whole[-1] if whole else None


def prune(folder: Path, keep: int) -> None:
    """Delete all but the last ``keep`` complete checkpoints."""
    for checkpoint in complete_checkpoints(folder)[:-keep]:
        (checkpoint.folder / MARKER).unlink()  # no longer whole from here on
        shutil.rmtree(checkpoint.folder)


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
            "--fresh to start anew, or another name."
        )


def _sizes(folder: Path) -> dict[str, int]:
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != MARKER]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


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
