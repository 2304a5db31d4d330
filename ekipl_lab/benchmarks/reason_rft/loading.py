"""Samples of Reason-RFT-CoT from a local folder, or from the hub.

The folder is named by the environment variable ``EKIPL_REASON_RFT``; without it the data set is
downloaded through ``huggingface_hub`` into its cache. Downloaded zip files are unpacked once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from ekipl_lab.benchmarks.base import Request, ordered
from ekipl_lab.benchmarks.image_files import ImageFiles
from ekipl_lab.benchmarks.reason_rft.layout import (
    FILES,
    HUB_ID,
    TASKS,
    VALIDATION_SHARE,
    DataFile,
)
from ekipl_lab.benchmarks.reason_rft.reading import Record, read_records
from ekipl_lab.benchmarks.seeding import SPLITS
from ekipl_lab.errors import ConfigError, DataError, unknown_name
from ekipl_lab.types import Sample

FOLDER_VARIABLE = "EKIPL_REASON_RFT"


def data_folder() -> Path:
    """The data set's folder: the environment's, or a downloaded snapshot of the hub's."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        if not Path(named).is_dir():
            raise ConfigError(f"{FOLDER_VARIABLE} names {named}, which is not a folder.")
        return Path(named)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(HUB_ID, repo_type="dataset"))
    except (OSError, ValueError) as error:
        raise _no_download() from error


def published_at_hand() -> bool:
    """Whether a run finds the data set on this machine; False: it will download it.

    Raises what the run would: ConfigError for a wrong folder, DataError if it cannot be downloaded.
    """
    from huggingface_hub import dataset_info, snapshot_download

    if os.environ.get(FOLDER_VARIABLE):
        return data_folder().is_dir()
    try:
        snapshot_download(HUB_ID, repo_type="dataset", local_files_only=True)
        return True
    except (OSError, ValueError):
        pass
    try:
        dataset_info(HUB_ID, timeout=10)
    except (OSError, ValueError) as error:
        raise _no_download() from error
    return False


def _no_download() -> DataError:
    return DataError(
        f"The data set {HUB_ID} cannot be downloaded; download it by hand and "
        f"name its folder in the environment variable {FOLDER_VARIABLE}."
    )


def unpack_images(folder: Path) -> None:
    """Unpack ``train_images.zip`` and ``test_images.zip`` unless their folders are there."""
    for name in ("train_images", "test_images"):
        archive, temporary = folder / f"{name}.zip", folder / f".{name}.{os.getpid()}"
        there = any((folder / place).is_dir() for place in (f"images/{name}", name))
        if there or not archive.is_file():
            continue
        try:
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(temporary)
        except (zipfile.BadZipFile, OSError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise DataError(
                f"{archive} cannot be unpacked ({error}); download it again."
            ) from error
        inner = next((path for path in temporary.rglob(name) if path.is_dir()), temporary)
        (folder / "images").mkdir(exist_ok=True)
        inner.replace(folder / "images" / name)


def iterate(request: Request, folder: str | Path | None = None) -> Iterator[Sample]:
    """The samples of a task and split, in the order that ``base.ordered`` says.

    ``families`` are the sources (clevr_math, super_clevr, geomath, geometry3k, trance, trance_left,
    trance_right). ``image_size`` bounds the long side (None: the published limit of pixels).
    ``difficulties`` keeps records with so many calls. Raises ConfigError for unknown names,
    DataError that names file, record and field for the first broken record.
    """
    split = request.split
    files = check_names(request.task, split, request.families)
    root = data_folder() if folder is None else Path(folder)
    unpack_images(root)
    records = [record for file in files for record in read_records(root, file, request.on_bad)]
    if split in ("train", "validation"):
        records = [r for r in records if is_validation(r.id) == (split == "validation")]
    if request.difficulties is not None:
        records = [r for r in records if r.difficulty in request.difficulties]
    records = ordered(records, request, lambda record: record.file.family)
    return (to_sample(record, split, request.image_size) for record in records)


def check_names(task: str, split: str, families: Sequence[str] | None) -> list[DataFile]:
    """The data set's files with these samples; ConfigError for an unknown name."""
    if task not in TASKS:
        raise unknown_name("task of benchmark 'reason_rft'", task, TASKS)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    source = "train" if split == "validation" else split
    files = [file for file in FILES if file.task == task and file.split == source]
    known = [file.family for file in files]
    for name in families or ():
        if name not in known:
            raise unknown_name(f"family of {task}/{split}", name, known)
    return [file for file in files if families is None or file.family in families]


def is_validation(record_id: str) -> bool:
    """Whether a training record belongs to validation: by a hash of its id, for good."""
    digest = hashlib.sha256(record_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % VALIDATION_SHARE == 0


def to_sample(record: Record, split: str, image_size: int | None = None) -> Sample:
    """The sample of a record; its images are opened when they are looked at."""
    images: Any = ImageFiles(record.images, image_size)
    return Sample(
        id=f"reason_rft/{record.file.task}/{split}/{record.file.family}/{record.id}",
        task=record.file.task,
        split=split,
        images=cast(tuple[Any, ...], images),
        question=record.problem,
        answer=record.answer,
        answer_type=record.answer_type,
        family=record.file.family,
        cot=record.cot,
        difficulty=record.difficulty,
        metadata={"benchmark": "reason_rft", "file": record.file.path, "record": record.index},
    )
