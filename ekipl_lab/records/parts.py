"""The files of a record folder: how they are named, written, and which of them count.

``steps-00000012-00000012-part-000012-000012.parquet`` holds steps 12 to 12 and is the 12th part.
Small parts are merged into one that carries their range of part numbers; until the small ones are
deleted the wider one counts, so a reader sees every row once at any moment, and a crash at any
moment leaves nothing to repair by hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ekipl_lab.errors import DataError
from ekipl_lab.records.schema import SCHEMA, SCHEMA_VERSION

_NAME = re.compile(r"steps-(\d+)-(\d+)-part-(\d+)-(\d+)\.parquet")
#: Rows per row group at which a new one starts; a step is never split.
ROW_GROUP_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Part:
    """One file: steps ``first_step..last_step``, part numbers ``first..last``, both inclusive."""

    path: Path
    first_step: int
    last_step: int
    first: int
    last: int

    def covers(self, other: Part) -> bool:
        """Whether this part replaces ``other``: it merged it, or is the same part cut shorter."""
        if (self.first, self.last) == (other.first, other.last):
            return self.last_step < other.last_step
        return self.first <= other.first and other.last <= self.last


def part_path(folder: Path, steps: tuple[int, int], numbers: tuple[int, int]) -> Path:
    """The file name of a part."""
    return folder / "steps-{:08d}-{:08d}-part-{:06d}-{:06d}.parquet".format(*steps, *numbers)


def list_parts(folder: Path) -> tuple[list[Part], list[Part]]:
    """The parts that count, in order, and the replaced ones that may be deleted."""
    parts = []
    for path in folder.glob("steps-*.parquet") if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match:
            parts.append(Part(path, *(int(text) for text in match.groups())))
    parts.sort(key=lambda part: (part.first, -part.last, part.last_step))
    live: list[Part] = []
    replaced: list[Part] = []
    for part in parts:
        # Sorted so, whatever replaces a part stands right before it.
        (replaced if live and live[-1].covers(part) else live).append(part)
    return live, replaced


def read_part(part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """One whole part. Raises DataError for a file that is broken or of another version."""
    return _open(part).read(columns=list(columns) if columns is not None else None)


def read_steps(part: Part, first: int, last: int, columns: Sequence[str] | None) -> pa.Table:
    """Only those row groups of a part that can hold steps ``first..last``."""
    file = _open(part)
    wanted = [
        i
        for i in range(file.num_row_groups)
        if _may_hold(file.metadata.row_group(i).column(0).statistics, first, last)
    ]
    return file.read_row_groups(wanted, columns=list(columns) if columns is not None else None)


def _may_hold(statistics: pq.Statistics | None, first: int, last: int) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= last and first <= statistics.max)


def _open(part: Part) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(part.path)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(
            f"Group record {part.path} is not a readable Parquet file; delete it to go on "
            f"without steps {part.first_step} to {part.last_step}."
        ) from error
    version = (file.schema_arrow.metadata or {}).get(b"ekipl.group_records", b"none").decode()
    if version != SCHEMA_VERSION:
        raise DataError(
            f"Group record {part.path} has schema version {version}, this is {SCHEMA_VERSION}; "
            "read it with the version of ekipl_lab that wrote it."
        )
    return file


def write_part(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of whole steps as one part, atomically."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        for table in tables:
            waiting.append(table)
            if sum(t.num_rows for t in waiting) >= ROW_GROUP_ROWS:
                writer.write_table(pa.concat_tables(waiting), row_group_size=1 << 30)
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=1 << 30)
    temporary.replace(path)
