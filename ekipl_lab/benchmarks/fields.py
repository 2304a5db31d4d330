"""Fields of a record of your own data, each checked.

``where`` names file and record; the DataError for a broken field begins with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.base import text_fault
from ekipl_lab.benchmarks.choices import MOST_CHOICES, without_letters
from ekipl_lab.benchmarks.tables import Row
from ekipl_lab.errors import DataError
from ekipl_lab.validation import LARGEST


def value_of(row: Row, column: str, where: str) -> Any:
    """What a column holds; 0 is something, nothing is an error."""
    if column not in row:
        raise DataError(f"{where}: there is no column {column!r}; fix `columns` or the record.")
    if not is_given(row, column) and row[column] != 0:
        raise DataError(f"{where}, column {column!r}: empty.")
    return row[column]


def is_given(row: Row, column: str) -> bool:
    """Whether the field holds something: what pandas writes for nothing is not a number."""
    value = row.get(column)
    return bool(value) and value == value


def text_of(row: Row, column: str, where: str, images: int = 0) -> str:
    """A text or number as text, without the space around it; ``images`` marks may stand in it."""
    value = value_of(row, column, where)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}, column {column!r}: a {type(value).__name__}, not a text.")
    if isinstance(value, float) and math.isinf(value):
        raise DataError(f"{where}, column {column!r}: an infinite number.")
    if not str(value).strip():
        raise DataError(f"{where}, column {column!r}: empty.")
    if fault := text_fault(str(value), images):
        raise DataError(f"{where}, column {column!r}: {fault}.")
    return str(value).strip()


def whole_of(row: Row, column: str, where: str) -> int:
    """A whole number; ``3.0``, as tables write it whose other records have none, is one."""
    try:
        number = int(re.sub(r"\.0+$", "", text_of(row, column, where)))
    except ValueError:
        number = LARGEST
    if abs(number) >= LARGEST:
        raise DataError(f"{where}, column {column!r}: not a whole number below 2^63.")
    return number


def choices_of(row: Row, column: str, where: str) -> tuple[str, ...]:
    """Choices of a list or a text split at ``|``, without letters; of an empty field none."""
    if column in row and not is_given(row, column) and row[column] != 0:
        return ()
    value = value_of(row, column, where)
    if isinstance(value, str):
        value = [part.strip() for part in value.split("|")]
    if not isinstance(value, list) or not 2 <= len(value) <= MOST_CHOICES:
        raise DataError(f"{where}, column {column!r}: no list of two to {MOST_CHOICES} choices.")
    if not all(_is_choice(part) for part in value):
        raise DataError(f"{where}, column {column!r}: a choice is empty or no text.")
    if fault := text_fault("".join(map(str, value)), 0):
        raise DataError(f"{where}, column {column!r}: {fault}.")
    return without_letters([str(part) for part in value])


def _is_choice(value: Any) -> bool:
    return isinstance(value, str | int | float) and value == value and str(value).strip() != ""


def images_of(row: Row, column: str, folder: Path, where: str) -> tuple[Path | bytes, ...]:
    """The pictures of a record, as files under ``folder`` or bytes."""
    value = value_of(row, column, where)
    entries = value if isinstance(value, list) else [value]
    return tuple(_image(entry, folder, f"{where}, column {column!r}") for entry in entries)


def _image(entry: Any, folder: Path, where: str) -> Path | bytes:
    if isinstance(entry, Mapping):
        entry = entry.get("bytes") or entry.get("path")
    if isinstance(entry, bytes):
        return entry
    if not isinstance(entry, str) or not entry:
        raise DataError(f"{where}: neither a path nor the bytes of an image.")
    base = folder.resolve()
    try:
        path = (base / entry).resolve()
        found = path.is_file()
    except (OSError, ValueError) as error:  # too long, a NUL, half a character
        raise DataError(f"{where}: {entry[:80]!r} is no path ({error}).") from error
    if not path.is_relative_to(base):
        raise DataError(f"{where}: {entry!r} leads out of {folder}.")
    if not found:
        raise DataError(f"{where}: {entry!r} does not exist under {folder}.")
    return path
