"""What `ekipl eval` says in the ``evaluation.json`` of a folder that it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ekipl_lab.errors import DataError
from ekipl_lab.files import read_note

SUMMARY = "evaluation.json"
FORMAT = 1


class _Job(BaseModel):
    tasks: list[str]
    splits: list[str]


class _Source(BaseModel):
    name: str


class _Summary(BaseModel):
    """What every reader needs of it."""

    format: int
    job: _Job
    source: _Source


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of an evaluation; DataError for a damaged one, another program's or version's."""
    path = folder / SUMMARY
    about = read_note(path) or {}
    try:
        version = _Summary.model_validate(about).format
    except ValidationError as error:
        raise no_summary(folder, ".".join(map(str, error.errors()[0]["loc"]))) from error
    if version != FORMAT:
        raise DataError(f"{path} is of format {version}, and {FORMAT} is read here; measure again.")
    return about


def no_summary(folder: Path, key: str) -> DataError:
    """The error of a summary in which ``key`` is not what it should be."""
    return DataError(
        f"{folder / SUMMARY} is not what `ekipl eval` wrote: {key} is missing or of another kind; "
        "measure again."
    )
