"""The files of a record folder: how they are named, written, and which of them count.

``steps-00000012-00000012-part-000012-000012.parquet`` holds steps 12 to 12 and is the 12th part.
Small parts are merged into one that carries their range of part numbers; until the small ones are
deleted the wider one counts, so a reader sees every row once at any moment, and a crash at any
moment leaves nothing to repair by hand.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ekipl_lab.errors import DataError
from ekipl_lab.files import replacing
from ekipl_lab.records.schema import SCHEMA, SCHEMA_VERSION

_NAME = re.compile(r"steps-(\d+)-(\d+)-part-(\d+)-(\d+)\.parquet")
#: Rows per row group at which a new one starts; a step is never split. A page decodes one row
#: group, a sum over the run opens all of them: this is where both are quick.
ROW_GROUP_ROWS = 1024
#: Key of a file's footer: its steps, rising, with commas between.
_STEPS = b"ekipl.steps"


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
    names = sorted(file.name for file in os.scandir(folder)) if folder.is_dir() else ()
    live, replaced = _arranged(folder, tuple(names))
    return list(live), list(replaced)


@functools.lru_cache(maxsize=16)
def _arranged(folder: Path, names: tuple[str, ...]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """`list_parts` of a folder with these files; every page asks twice, few find a new file."""
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    parts = [Part(folder / m.string, *(int(text) for text in m.groups())) for m in matches]
    parts.sort(key=lambda part: (part.first, -part.last, part.last_step))
    live: list[Part] = []
    replaced: list[Part] = []
    for part in parts:
        # Sorted so, whatever replaces a part stands right before it.
        (replaced if live and live[-1].covers(part) else live).append(part)
    return tuple(live), tuple(replaced)


def steps_of(part: Part) -> list[int]:
    """The steps that a part holds, from its footer; parts of earlier versions are read for it."""
    file = _open(part)
    known = (file.metadata.metadata or {}).get(_STEPS)
    if known is not None:
        return [int(step) for step in known.decode().split(",")]
    return list(pc.unique(file.read(columns=["step"])["step"]).to_pylist())


def read_part(part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """One whole part. Raises DataError for a file that is broken or of another version."""
    return _open(part).read(columns=list(columns) if columns is not None else None)


def read_steps(part: Part, first: int, last: int, columns: Sequence[str]) -> pa.Table:
    """Only those row groups of a part that can hold steps ``first..last``."""
    file = _open(part)
    if first <= part.first_step and part.last_step <= last:
        return file.read(columns=list(columns))
    wanted = [
        i
        for i in range(file.num_row_groups)
        if _may_hold(file.metadata.row_group(i).column(0).statistics, first, last)
    ]
    return file.read_row_groups(wanted, columns=list(columns))


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
    steps: set[int] = set()
    # Only the statistics of the step are looked at; those of 40 columns would be read with each.
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(
            temporary, SCHEMA, compression="zstd", write_statistics=["step"]
        ) as writer,
    ):
        for tables_of_group in _row_groups(tables):
            table = pa.concat_tables(tables_of_group)
            steps.update(pc.unique(table["step"]).to_pylist())
            writer.write_table(table, row_group_size=1 << 30)
        writer.add_key_value_metadata({_STEPS: ",".join(map(str, sorted(steps)))})


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= ROW_GROUP_ROWS:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
