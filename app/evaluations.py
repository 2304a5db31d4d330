"""Stored evaluations: those of a run's steps, and the folders of ``ekipl eval``.

A *source* is a run's id or ``eval/<folder>``. It has sets (``test``, ``test_ood``; of a folder also
its blind controls), and each set was measured at checkpoints: ``start``, ``step-<n>``. Reading one
needs no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from app import runs
from app.kept import remembered
from app.state import START
from ekipl_lab import benchmarks, tracking
from ekipl_lab.errors import DataError, EKIPLError, MissingData
from ekipl_lab.evaluation import read_records
from ekipl_lab.evaluation.folder import SUMMARY, read_summary
from ekipl_lab.tracking.store import store_folder
from ekipl_lab.types import EvalRecord, Sample

#: What the id of a folder of ``ekipl eval`` begins with; the folders lie in the store.
FOLDER = "eval/"
#: The checkpoint under which what a folder measured stands; its start is ``start``.
MEASURED = "step-1"
_STEP = re.compile(r"step-(\d+)\.parquet")

#: Set -> checkpoint -> the file that holds its records.
Index = Mapping[str, Mapping[str, Path]]


def choices() -> list[tuple[str, str]]:
    """Label and id of every source: runs, then folders."""
    return [choice for choice in [*runs.choices(), *_folders()] if choice[1]]


def latest() -> str:
    """The source that opens first: the latest run that was measured, else the first folder."""
    return next((source for _, source in choices() if _is_measured(source)), "")


def _is_measured(source: str) -> bool:
    """Whether it has sets; a damaged folder has none."""
    try:
        return bool(list_sets(source))
    except DataError:
        return False


def list_sets(source: str) -> list[str]:
    """Names of the sets that a source was measured on; none for an unknown one."""
    return list(_index(source))


def list_checkpoints(source: str, name: str) -> list[str]:
    """Checkpoints at which a set was measured, by step."""
    return list(_index(source).get(name, {}))


def label_checkpoint(source: str, checkpoint: str) -> str:
    """A checkpoint's name for people."""
    if checkpoint == START:
        return "start (step 0), before training" if not source.startswith(FOLDER) else "start"
    return "as measured" if source.startswith(FOLDER) else checkpoint.replace("-", " ")


def label_source(source: str) -> str:
    """A source's name for people."""
    return next((label for label, known in choices() if known == source), source)


def load(source: str, name: str, checkpoint: str) -> tuple[EvalRecord, ...]:
    """The records of one measurement, both modes; DataError where there is none."""
    measured = _index(source).get(name, {})
    if checkpoint not in measured:
        known = ", ".join(measured) or "none"
        raise DataError(
            f"{label_source(source)!r} has no evaluation of {name!r} at {checkpoint!r}; "
            f"measured there: {known}."
        )
    path = measured[checkpoint]
    return tuple(r for r in _read(str(path), path.stat().st_mtime_ns) if _belongs(r, source, name))


def find(source: str, checkpoint: str, sample_id: str, mode: str) -> EvalRecord:
    """What a checkpoint did on an item, in whichever set it was measured; DataError for nothing."""
    for name in list_sets(source):
        if not name.startswith("control-") and checkpoint in list_checkpoints(source, name):
            for record in load(source, name, checkpoint):
                if (record.sample_id, record.mode) == (sample_id, mode):
                    return record
    raise DataError(f"Nothing is stored of {sample_id} at {checkpoint!r}; sample it now instead.")


def sample_of(source: str, sample_id: str) -> Sample:
    """The item of a record with its picture; DataError where it cannot be had here."""
    if sample_id.startswith("mini/"):
        return benchmarks.load_sample(sample_id, image_size=_image_size(source))
    missing = f"The picture and question of {sample_id} are not here"
    try:
        found = _samples(tracking.tracking_uri(), source)
    except EKIPLError as error:
        raise DataError(f"{missing}; its chains are. {error}") from error
    if sample_id not in found:
        raise DataError(f"{missing}: the data of {label_source(source)!r} do not hold it.")
    return found[sample_id]


def list_items(source: str) -> list[str]:
    """Ids of everything that a source was measured on, in the order of its sets and records."""
    return list(
        dict.fromkeys(
            record.sample_id
            for name in list_sets(source)
            if not name.startswith("control-")
            for record in load(source, name, list_checkpoints(source, name)[0])
        )
    )


def text_sample(record: EvalRecord) -> Sample:
    """What a record says of its item, where the item itself is not here."""
    return Sample(
        record.sample_id, record.task, record.split, (), "", "", "text", record.family,
        difficulty=record.difficulty,
    )  # fmt: skip


def _index(source: str) -> Index:
    if source.startswith(FOLDER):
        return remembered(("measured", source), lambda: _of_folder(source))
    if not runs.is_known(source):
        return {}
    info = runs.info(source)
    return remembered(("measured", source), lambda: _of_run(info))


def _of_run(run: tracking.RunInfo) -> Index:
    """``evaluation/<set>/step-<n>.parquet`` among the artifacts."""
    try:
        folder = tracking.run_artifact(run, "evaluation")
    except MissingData:
        return {}
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/step-*.parquet")):
        match = _STEP.fullmatch(path.name)
        if match:
            checkpoint = f"step-{int(match[1])}" if int(match[1]) else START
            found.setdefault(path.parent.name, {})[checkpoint] = path
    return found


def _of_folder(source: str) -> Index:
    folder = next((path for path in _evaluated() if FOLDER + path.name == source), None)
    if folder is None:
        return {}
    job = _summary(folder)["job"]
    files = {START: folder / "start.parquet", MEASURED: folder / "records.parquet"}
    there = {checkpoint: path for checkpoint, path in files.items() if path.is_file()}
    places = [(task, split) for task in job["tasks"] for split in job["splits"]]
    names = [f"{t}/{s}" if len(job["tasks"]) > 1 else s for t, s in places]
    controls = {path.stem: {MEASURED: path} for path in sorted(folder.glob("control-*.parquet"))}
    return dict.fromkeys(names, there) | controls


def _belongs(record: EvalRecord, source: str, name: str) -> bool:
    """A folder keeps all its sets in one file; a control and a run's set are a file each."""
    if not source.startswith(FOLDER) or name.startswith("control-"):
        return True
    return name in (record.split, f"{record.task}/{record.split}")


def _evaluated() -> list[Path]:
    """Folders of the store in which ``ekipl eval`` finished, latest first."""
    found = (store_folder().resolve() / "eval").glob(f"*/{SUMMARY}") if runs.has_store() else ()
    return [path.parent for path in sorted(found, key=lambda p: -p.stat().st_mtime_ns)]


def _folders() -> list[tuple[str, str]]:
    return remembered(
        ("folders",),
        lambda: [
            (f"{_name(folder)} · evaluation {folder.name[-6:]}", FOLDER + folder.name)
            for folder in _evaluated()
        ],
    )


def _name(folder: Path) -> str:
    """What was measured; a damaged folder is listed, and says what is wrong once it is chosen."""
    try:
        return str(_summary(folder)["source"]["name"])
    except DataError:
        return "damaged"


def _summary(folder: Path) -> dict[str, Any]:
    return read_summary(folder)


def _image_size(source: str) -> int | None:
    """The side of a source's pictures; None for the benchmark's own."""
    if not source.startswith(FOLDER):
        return _run_image_size(tracking.tracking_uri(), source)
    folder = next((path for path in _evaluated() if FOLDER + path.name == source), None)
    return None if folder is None else _summary(folder)["job"].get("image_size")


@lru_cache(maxsize=1024)
def _run_image_size(store: str, run: str) -> int | None:
    size: int | None = tracking.read_config(runs.info(run))["data"].get("image_size")
    return size


@lru_cache(maxsize=4)
def _samples(store: str, source: str) -> Mapping[str, Sample]:
    """The samples that a source was measured on, by id.

    Raises where its data cannot be read, or have changed since.
    """
    from ekipl_lab.evaluation.job import Job, data_digest, load_sets
    from ekipl_lab.training.config.run_config import parse_config
    from ekipl_lab.training.inputs import fingerprint
    from ekipl_lab.training.run_data import load_evaluation_sets

    if source.startswith(FOLDER):
        names = {field.name for field in fields(Job)} - {"params", "loading"}
        about = next(_summary(path) for path in _evaluated() if FOLDER + path.name == source)
        job, data = about["job"], about.get("data", {})
        sets = load_sets(Job(**{name: job[name] for name in names if name in job}))
        measured = {label: part["hash"] for label, part in data.items()}
        found = {label: data_digest(sets[label]) for label in measured}
    else:
        sets = load_evaluation_sets(parse_config(tracking.read_config(source)))
        tags = runs.info(source).tags
        named = {label: tags.get(f"ekipl.data.{label}", "").rpartition(" ")[2] for label in sets}
        measured = {label: known for label, known in named.items() if known}
        found = {label: fingerprint(sets[label]) for label in measured}
    if changed := [label for label in measured if measured[label] != found[label]]:
        raise DataError(f"The data of {changed[0]!r} have changed since they were measured.")
    return {sample.id: sample for samples in sets.values() for sample in samples}


@lru_cache(maxsize=48)
def _read(path: str, changed: int) -> tuple[EvalRecord, ...]:
    """The records of a file as it was when last ``changed`` (ns), kept in memory."""
    return tuple(read_records(path, tokens=False))
