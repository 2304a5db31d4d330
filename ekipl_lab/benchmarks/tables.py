"""The rows of a user's table: a file, a folder that ``Dataset.save_to_disk`` wrote, or the hub."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import ConfigError, DataError, unknown_name

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

Row = Mapping[str, Any]


def read_rows(path: Path) -> Iterable[Row]:
    """The rows of a file or saved data set. ConfigError if there is none, DataError if broken."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist; fix `splits`.")
    reader = READERS.get(path.suffix) if path.is_file() else _read_saved
    if reader is None:
        raise unknown_name("file type", path.suffix, READERS)
    try:
        return reader(path)
    except (ValueError, OSError, RecursionError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); fix the file.") from error


def hub_rows(hub: str, split: str) -> Iterable[Row]:
    """The rows of a split of a hub data set; DataError if it cannot be had."""
    from datasets import load_dataset

    try:
        return _undecoded(load_dataset(hub, split=split))
    except Exception as error:  # the library raises whatever its loaders and HTTP clients do
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"Split {split!r} of the hub data set {hub!r} cannot be loaded ({said}); check the id, "
            "the split and the connection, or download it and name its files in `splits`."
        ) from error


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 with its byte order mark; ValueError for another."""
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}; save it as UTF-8") from None


def _read_json(path: Path) -> list[Row]:
    rows = json.loads(read_text(path), object_pairs_hook=_unique)
    if not isinstance(rows, list):
        raise ValueError("not a list of records")
    return rows


def _read_jsonl(path: Path) -> list[Row]:
    lines = read_text(path).split("\n")  # nothing else ends a line of JSON
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows += [json.loads(line, object_pairs_hook=_unique)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from None
    return rows


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        double = next(key for key in found if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {double!r} occurs twice in a record")
    return found


def _read_csv(path: Path) -> list[Row]:
    """A table whose fields are of any length, parted by commas, semicolons or tabs."""
    text = read_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    head = re.split("[\r\n]", text, maxsplit=1)[0]
    mark = max(",;\t", key=lambda mark: len(next(csv.reader([head], delimiter=mark), [])))
    names = next(csv.reader([head], delimiter=mark), [])
    if double := [name for name in names if name and names.count(name) > 1]:
        raise ValueError(f"two columns are named {double[0]!r}")
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows: list[Row] = []
    try:
        for row in table:
            if None in row:
                raise ValueError(
                    f"record {len(rows)} has more fields than the first line; quote its texts"
                )
            rows.append(row)
    except csv.Error as error:
        raise ValueError(f"record {len(rows)}: {error}; check its quotes") from None
    return rows


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow.parquet as pq

    return _rows(pq.read_table(path))


def _rows(table: pa.Table) -> list[Row]:
    """The rows; a number of 32 bits as it was written, 0.1 and not 0.10000000149011612."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        for short, text, long in (
            (pa.float32(), pa.string(), pa.float64()),
            (pa.list_(pa.float32()), pa.list_(pa.string()), pa.list_(pa.float64())),
        ):
            if field.type == short:
                column = table.column(place).cast(text).cast(long)
                table = table.set_column(place, field.name, column)
    rows: list[Row] = table.to_pylist()
    return rows


def _read_saved(path: Path) -> Iterable[Row]:
    from datasets import DatasetDict, load_from_disk

    saved = load_from_disk(str(path))
    if isinstance(saved, DatasetDict):
        raise ValueError(f"it holds {', '.join(saved)}; name one of these folders")
    return _undecoded(saved)


def _undecoded(table: Dataset) -> Iterable[Row]:
    """Rows whose images are bytes and paths, wherever in a row they are."""
    batches = table.with_format("arrow").iter(1000)
    return (row for batch in batches for row in _rows(batch))


READERS = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
