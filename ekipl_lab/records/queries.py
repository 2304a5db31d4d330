"""Reading group records, also while they are written: pages, single groups, sums per source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from ekipl_lab.errors import DataError
from ekipl_lab.records.schema import SCHEMA, RecordedGroup, from_rows
from ekipl_lab.records.shards import Part, list_parts, read_steps, steps_of

_T = TypeVar("_T")
#: Attempts at a consistent view while a writer merges parts under the reader.
_ATTEMPTS = 10


def list_steps(folder: str | Path) -> list[int]:
    """Steps that have records, rising; empty for a folder without any."""
    found = _consistently(Path(folder), lambda parts: [steps_of(part) for part in parts])
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
    page = _read(Path(folder), _wanted(steps), needed, filters).slice(offset, limit)
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
        raise DataError(f"No group records of step {step} in {folder}; list_steps names those.")
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
    table = _read(Path(folder), _wanted(steps), names, {})
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


def _wanted(steps: Sequence[int] | int | None) -> list[int] | None:
    if steps is None:
        return None
    return [steps] if isinstance(steps, int) else list(steps)


def _read(
    folder: Path, steps: list[int] | None, columns: list[str], filters: dict[str, str]
) -> pa.Table:
    empty = pa.schema([SCHEMA.field(name) for name in columns]).empty_table()
    tables = _consistently(
        folder,
        lambda parts: [
            _read_part(part, steps, columns, filters) for part in parts if _holds(part, steps)
        ],
    )
    return pa.concat_tables([empty, *tables])


def _consistently(folder: Path, look: Callable[[list[Part]], list[_T]]) -> list[_T]:
    """What ``look`` finds in the parts; it looks again if they were merged or dropped meanwhile."""
    for _ in range(_ATTEMPTS):
        parts = list_parts(folder)[0]
        try:
            found = look(parts)
        except FileNotFoundError:
            continue
        if list_parts(folder)[0][: len(parts)] == parts:
            return found
    raise DataError(f"The records in {folder} changed while they were read; try again.")


def _holds(part: Part, steps: list[int] | None) -> bool:
    return steps is None or any(part.first_step <= step <= part.last_step for step in steps)


def _read_part(
    part: Part, steps: list[int] | None, columns: list[str], filters: dict[str, str]
) -> pa.Table:
    first, last = part.first_step, part.last_step
    if steps is not None:
        inside = [step for step in steps if first <= step <= last]
        first, last = min(inside), max(inside)
    if filters and set(columns) > {"step", *filters}:  # a narrow look first: most parts lack it
        narrow = _read_part(part, steps, ["step", *filters], filters)
        if narrow.num_rows == 0:
            return read_steps(part, part.last_step + 1, part.last_step + 1, columns)
    table = read_steps(part, first, last, columns)
    if steps is not None:
        table = table.filter(pc.is_in(table["step"], value_set=pa.array(steps, pa.int64())))
    for name, value in filters.items():
        table = table.filter(pc.equal(table[name], value))
    return table
