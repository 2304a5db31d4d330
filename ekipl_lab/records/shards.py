"""The files of a record folder: how they are named, written, and which of them count.

``steps-00000012-00000012-part-000012-000012.parquet`` holds steps 12 to 12 and is shard number 12.
Small shards are merged into one that carries their range of numbers; until the small ones are
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
from ekipl_lab.parquet import SEAL, is_whole, seal
from ekipl_lab.records.schema import SCHEMA, SCHEMA_VERSION

_NAME = re.compile(r"steps-(\d+)-(\d+)-part-(\d+)-(\d+)\.parquet")
#: Rows per row group at which a new one starts; a step is never split. A page decodes one row
#: group, a sum over the run opens all of them: this is where both are quick.
ROW_GROUP_ROWS = 1024
#: Key of a file's footer: its steps, rising, with commas between.
_STEPS = b"ekipl.steps"


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: steps ``first_step..last_step``, shard numbers ``first..last``, both inclusive."""

    path: Path
    first_step: int
    last_step: int
    first: int
    last: int

    def covers(self, other: Shard) -> bool:
        """Whether this shard replaces ``other``: it merged it, or is the same one cut shorter."""
        if (self.first, self.last) == (other.first, other.last):
            return self.last_step < other.last_step
        return self.first <= other.first and other.last <= self.last


def shard_path(folder: Path, steps: tuple[int, int], numbers: tuple[int, int]) -> Path:
    """Where the shard of these steps and numbers lies."""
    return folder / "steps-{:08d}-{:08d}-part-{:06d}-{:06d}.parquet".format(*steps, *numbers)


def list_shards(folder: Path) -> tuple[tuple[Shard, ...], tuple[Shard, ...]]:
    """The shards that count, in order, and the replaced ones that may be deleted."""
    names = sorted(file.name for file in os.scandir(folder)) if folder.is_dir() else ()
    return _arranged(folder, tuple(names))


@functools.lru_cache(maxsize=16)
def _arranged(folder: Path, names: tuple[str, ...]) -> tuple[tuple[Shard, ...], tuple[Shard, ...]]:
    """`list_shards` of a folder with these files; every page asks twice, few find a new file."""
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    shards = [Shard(folder / m.string, *(int(text) for text in m.groups())) for m in matches]
    shards.sort(key=lambda shard: (shard.first, -shard.last, shard.last_step))
    live: list[Shard] = []
    replaced: list[Shard] = []
    for shard in shards:
        # Sorted so, whatever replaces a shard stands right before it.
        (replaced if live and live[-1].covers(shard) else live).append(shard)
    return tuple(live), tuple(replaced)


def steps_of(shard: Shard) -> list[int]:
    """The steps that a shard holds, from its footer; its rows are read where that lacks them."""
    file = _open(shard)
    known = (file.metadata.metadata or {}).get(_STEPS)
    if known is not None:
        return [int(step) for step in known.decode().split(",")]
    return list(pc.unique(file.read(columns=["step"])["step"]).to_pylist())


def count_rows(shard: Shard) -> int:
    """The number of rows of a shard, from its footer."""
    return int(_open(shard).metadata.num_rows)


def read_shard(
    shard: Shard, columns: Sequence[str] | None = None, span: tuple[int, int] | None = None
) -> pa.Table:
    """A shard; with ``span`` only those row groups that can hold steps first..last of it.

    Raises DataError for a file that is broken or of another version.
    """
    file = _open(shard)
    wanted = list(range(file.num_row_groups))
    if span is not None and not (span[0] <= shard.first_step and shard.last_step <= span[1]):
        groups = [file.metadata.row_group(i) for i in wanted]
        wanted = [i for i in wanted if _may_hold(groups[i].column(0).statistics, span)]
    try:
        return file.read_row_groups(wanted, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(shard) from error


def _may_hold(statistics: pq.Statistics | None, span: tuple[int, int]) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= span[1] and span[0] <= statistics.max)


def _open(shard: Shard) -> pq.ParquetFile:
    try:
        if not is_whole(shard.path):
            raise _unreadable(shard)
        file = pq.ParquetFile(shard.path, page_checksum_verification=True)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(shard) from error
    version = (file.schema_arrow.metadata or {}).get(b"ekipl.group_records", b"none").decode()
    if version != SCHEMA_VERSION:
        raise DataError(
            f"Group record {shard.path} has schema version {version}, this is {SCHEMA_VERSION}; "
            "read it with the version of ekipl_lab that wrote it."
        )
    return file


def _unreadable(shard: Shard) -> DataError:
    return DataError(
        f"Group record {shard.path} is damaged or not a Parquet file; put it back from a copy, or "
        f"start the run anew: it holds steps {shard.first_step} to {shard.last_step}."
    )


def write_shard(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of whole steps as one shard, atomically."""
    steps: set[int] = set()
    # Only the statistics of the step are looked at; those of 40 columns would be read with each.
    with replacing(path) as temporary:
        with pq.ParquetWriter(
            temporary,
            SCHEMA,
            compression="zstd",
            write_statistics=["step"],
            write_page_checksum=True,
        ) as writer:
            for table in _row_groups(tables):
                steps.update(pc.unique(table["step"]).to_pylist())
                writer.write_table(table, row_group_size=1 << 30)
            listed = ",".join(map(str, sorted(steps)))
            writer.add_key_value_metadata({_STEPS.decode(): listed, **SEAL})
        seal(temporary)


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= ROW_GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
