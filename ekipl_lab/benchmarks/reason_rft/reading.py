"""Records of the published files, checked one by one; problems name file, record and field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.base import text_fault
from ekipl_lab.benchmarks.reason_rft.layout import FUNCTION_VALUES, IMAGES_PER_RECORD, DataFile
from ekipl_lab.errors import DataError


@dataclass(frozen=True, slots=True)
class Record:
    """One checked record; ``images`` are files that exist, ``index`` its position in the file."""

    file: DataFile
    index: int
    id: str
    images: tuple[Path, ...]
    problem: str
    answer: str
    cot: str | None

    @property
    def answer_type(self) -> str:
        """number, letter, calls, or math where the answer of a figure is neither of these."""
        return answer_type(self.file.task, self.answer)

    @property
    def difficulty(self) -> int:
        """Number of calls of a transformation; 0 where the data do not say."""
        return len(read_calls(self.answer)) if self.file.task == "transformation" else 0


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one record, or with a whole file (``index`` None)."""

    file: str
    index: int | None
    record_id: str
    field: str
    reason: str

    def __str__(self) -> str:
        where = "" if self.index is None else f", record {self.index}"
        named = f" (id {self.record_id})" if self.record_id else ""
        field = f", field {self.field!r}" if self.field else ""
        return f"{self.file}{where}{named}{field}: {self.reason}."


class BrokenRecord(Exception):
    """Raised within this module: (field, reason)."""


def read_records(
    root: Path, file: DataFile, on_bad: Callable[[str], None] | None = None
) -> list[Record]:
    """All records of a file; DataError that names the first broken one, unless ``on_bad`` hears it.

    A file that cannot be read at all is an error in any case.
    """
    records = []
    for found in scan_records(root, file):
        if isinstance(found, Problem):
            if on_bad is None or found.index is None:
                raise DataError(str(found))
            on_bad(str(found))
            continue
        records.append(found)
    return records


def scan_records(root: Path, file: DataFile) -> Iterator[Record | Problem]:
    """Every record of a file, or what is wrong with it, in order."""
    try:
        rows = _rows(root / file.path)
    except BrokenRecord as broken:
        yield Problem(file.path, None, "", *broken.args)
        return
    seen: dict[str, int] = {}
    for index, row in enumerate(rows):
        try:
            record = _record(root, file, index, row)
            if record.id in seen:
                raise BrokenRecord("id", f"the same as of record {seen[record.id]}")
        except BrokenRecord as broken:
            named = str(row.get("id", "")) if isinstance(row, dict) else ""
            yield Problem(file.path, index, named, *broken.args)
            continue
        seen[record.id] = index
        yield record


def _rows(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenRecord("", "the file is missing") from None
    except ValueError as error:
        raise BrokenRecord("", f"not JSON ({error})") from None
    if not isinstance(rows, list):
        raise BrokenRecord("", "not a JSON list of records")
    return rows


def _record(root: Path, file: DataFile, index: int, row: Any) -> Record:
    if not isinstance(row, dict):
        raise BrokenRecord("", "not a JSON object")
    record_id = _text(row, "id")
    problem = _text(row, "problem", IMAGES_PER_RECORD[file.task])
    answer = _bare(_text(row, "answer"))
    cot = _text(row, "cot") if file.split == "train" else None
    images = _images(root, file, row)
    if file.task == "transformation":
        answer = ", ".join(f"{f}({number}, {value})" for f, number, value in read_calls(answer))
    elif file.task == "counting" and answer_type("counting", answer) != "number":
        raise BrokenRecord("answer", f"{answer!r} is not a number")
    return Record(file, index, record_id, images, problem, answer, cot)


def _text(row: Mapping[str, Any], field: str, images: int = 0) -> str:
    value = row.get(field)
    if field in ("id", "answer") and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        raise BrokenRecord(field, "missing")
    if not isinstance(value, str):
        raise BrokenRecord(field, f"a {type(value).__name__} where a text is expected")
    if not value.strip():
        raise BrokenRecord(field, "empty")
    if fault := text_fault(value, images):
        raise BrokenRecord(field, fault)
    return value if field == "problem" else value.strip()


def _bare(answer: str) -> str:
    """The text inside answer tags, if the answer has them."""
    found = re.fullmatch(r"<answer>(.*)</answer>", answer, re.DOTALL)
    inner = found[1].strip() if found else answer
    if not inner:
        raise BrokenRecord("answer", "empty")
    return inner


def _images(root: Path, file: DataFile, row: Mapping[str, Any]) -> tuple[Path, ...]:
    value = row.get("image")
    if value is None or value in ("", []):
        raise BrokenRecord("image", "missing")
    entries = value if isinstance(value, list) else [value]
    wanted = IMAGES_PER_RECORD[file.task]
    if len(entries) != wanted:
        raise BrokenRecord("image", f"{len(entries)} images where the task has {wanted}")
    return tuple(_image(root, file, entry) for entry in entries)


def _image(root: Path, file: DataFile, entry: Any) -> Path:
    path = entry.get("path") if isinstance(entry, dict) else entry
    if not isinstance(path, str) or not path:
        raise BrokenRecord("image", "neither a path nor a dict with a path")
    base = root.resolve()
    for folder in (file.images, file.images.split("/", 1)[1], "images", "."):
        candidate = (base / folder / path).resolve()
        if not candidate.is_relative_to(base):
            raise BrokenRecord("image", f"{path!r} leads out of the data set's folder")
        if candidate.is_file():
            return candidate
    raise BrokenRecord("image", f"{path!r} does not exist under {file.images}")


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)
_CALL = re.compile(r"([A-Za-z_]+)\s*\(\s*(\d{1,4})\s*,\s*(['\"]?)([A-Za-z_]+)\3\s*\)", re.ASCII)


def answer_type(task: str, answer: str) -> str:
    """The matcher for an answer; a choice answer of a figure is one of A to D."""
    if task == "transformation":
        return "calls"
    if task == "geometry" and answer in ("A", "B", "C", "D"):
        return "letter"
    return "number" if _NUMBER.fullmatch(answer) else "math"


def read_calls(answer: str) -> list[tuple[str, int, str]]:
    """The 1 to 4 calls (function, object, value) of an answer; BrokenRecord if it is not one."""
    calls = [(found[1], int(found[2]), found[4]) for found in _CALL.finditer(answer)]
    rest = _CALL.sub("", answer).strip(" \n\t,;.[]'\"")
    if not calls or rest.replace(",", "").replace("'", "").replace('"', "").strip():
        raise BrokenRecord("answer", f"{answer!r} is not a sequence of calls")
    for function, _, value in calls:
        if function not in FUNCTION_VALUES:
            raise BrokenRecord("answer", f"unknown function {function!r}")
        if value not in FUNCTION_VALUES[function]:
            raise BrokenRecord("answer", f"unknown value {value!r} of {function}")
    if len(calls) > 4:
        raise BrokenRecord("answer", f"{len(calls)} calls where 4 are the most")
    return calls
