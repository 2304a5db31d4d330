"""Reading group records, also while they are written: pages, single groups, sums per source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from ekipl_lab.errors import DataError, MissingData
from ekipl_lab.records.schema import SCHEMA, RecordedGroup, from_rows
from ekipl_lab.records.shards import Shard, list_shards, read_shard, steps_of

_T = TypeVar("_T")
#: Attempts at a consistent view while a writer merges shards under the reader.
_ATTEMPTS = 10


def list_steps(folder: str | Path) -> list[int]:
    """Steps that have records, rising; empty for a folder without any."""
    found = _consistently(Path(folder), lambda shards: [steps_of(shard) for shard in shards])
    return sorted({step for steps in found for step in steps})


def read_groups(
    folder: str | Path,
    *,
    steps: Sequence[int] | int | None = None,
    sample_id: str | None = None,
    source: str | None = None,
    columns: Sequence[str] | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> pa.Table:
    """Rows (one per candidate) in the order step, group, candidate.

    ``steps`` is one step, or some (a ``range`` for an interval); only the files and row groups
    that can hold them are read. ``offset`` and ``limit`` cut a page of rows. An empty folder gives
    an empty table. Raises DataError for an unknown column or a broken file.
    """
    names = list(SCHEMA.names if columns is None else columns)
    unknown = sorted(set(names) - set(SCHEMA.names))
    if unknown:
        raise DataError(f"Group records have no column {unknown[0]!r}; see records.SCHEMA.")
    given = {"sample_id": sample_id, "source": source}
    filters = {name: value for name, value in given.items() if value is not None}
    needed = [name for name in SCHEMA.names if name in {"step", *names, *filters}]
    page = _read(Path(folder), steps, needed, filters).slice(offset, limit)
    return page.select(names).combine_chunks()


def load_groups(
    folder: str | Path, step: int, *, offset: int = 0, limit: int | None = None
) -> list[RecordedGroup]:
    """The groups of one step; ``offset`` and ``limit`` count groups.

    ``RecordedGroup.with_sample`` turns one into the ActionGroup it was. Raises DataError if the
    step has no records.
    """
    table = read_groups(folder, steps=step)
    if table.num_rows == 0:
        raise MissingData(f"No group records of step {step} in {folder}; list_steps names those.")
    stop = 1 << 31 if limit is None else offset + limit
    page = pc.and_(pc.greater_equal(table["group"], offset), pc.less(table["group"], stop))
    return from_rows(table.filter(page).to_pylist())


def sum_by_source(
    folder: str | Path, *, steps: Sequence[int] | int | None = None
) -> list[dict[str, int | float | str | None]]:
    """One row per (step, source): candidates, kept, successes, mean total, sum of |advantage|.

    ``mean_total`` is over the candidates that could be scored; None if there are none.
    """
    names = ["step", "source", "kept", "success", "total", "advantage"]
    table = _read(Path(folder), steps, names, {})
    table = table.append_column("size", pc.abs(table["advantage"]))
    sums = table.group_by(["step", "source"], use_threads=False).aggregate(
        [
            ("source", "count"),
            ("kept", "sum"),
            ("success", "sum"),
            ("total", "mean"),
            ("size", "sum"),
        ]
    )
    renamed = ["step", "source", "candidates", "kept", "successes", "mean_total", "abs_advantage"]
    rows = sums.rename_columns(renamed).to_pylist()
    return sorted(rows, key=lambda row: (row["step"], row["source"]))


def _read(
    folder: Path, steps: Sequence[int] | int | None, columns: list[str], filters: dict[str, str]
) -> pa.Table:
    wanted = [steps] if isinstance(steps, int) else steps

    def look(shards: Sequence[Shard]) -> list[pa.Table]:
        held = [shard for shard in shards if wanted is None or _inside(shard, wanted)]
        return [_rows_of(shard, wanted, columns, filters) for shard in held]

    return pa.concat_tables([_no_rows(columns), *_consistently(folder, look)])


def _inside(shard: Shard, steps: Sequence[int]) -> list[int]:
    return [step for step in steps if shard.first_step <= step <= shard.last_step]


def _no_rows(columns: list[str]) -> pa.Table:
    return pa.schema([SCHEMA.field(name) for name in columns]).empty_table()


def _consistently(folder: Path, look: Callable[[Sequence[Shard]], list[_T]]) -> list[_T]:
    """What ``look`` finds in the shards; it looks again if they changed meanwhile."""
    for _ in range(_ATTEMPTS):
        shards = list_shards(folder)[0]
        try:
            found = look(shards)
        except FileNotFoundError:
            continue
        if list_shards(folder)[0][: len(shards)] == shards:
            return found
    raise MissingData(f"The records in {folder} changed while they were read; try again.")


def _rows_of(
    shard: Shard, steps: Sequence[int] | None, columns: list[str], filters: dict[str, str]
) -> pa.Table:
    if filters and set(columns) > {"step", *filters}:  # a narrow look first: most shards lack it
        narrow = _rows_of(shard, steps, ["step", *filters], filters)
        if narrow.num_rows == 0:
            return _no_rows(columns)
    if steps is None:
        table = read_shard(shard, columns)
    else:
        inside = _inside(shard, steps)
        table = read_shard(shard, columns, (min(inside), max(inside)))
        table = table.filter(pc.is_in(table["step"], value_set=pa.array(steps, pa.int64())))
    for name, value in filters.items():
        table = table.filter(pc.equal(table[name], value))
    return table
