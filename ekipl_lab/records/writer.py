"""Writing group records while training runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ekipl_lab.errors import DataError
from ekipl_lab.records.schema import SCHEMA, to_rows
from ekipl_lab.records.shards import Part, list_parts, part_path, read_part, write_part
from ekipl_lab.types import ActionGroup


class GroupRecordWriter:
    """Appends the groups of each step to ``folder``; one writer per folder.

    ``flush_every`` is the number of ``write`` calls per file; ``compact_every`` the number of
    small files that are merged into one, so that long runs stay quick to search. What is flushed
    is readable at once and survives the process; a context manager flushes at its end, an
    exception included.
    """

    def __init__(
        self, folder: str | Path, flush_every: int = 1, *, compact_every: int = 64
    ) -> None:
        self._folder = Path(folder)
        self._flush_every = flush_every
        self._compact_every = compact_every
        self._rows: list[dict[str, Any]] = []
        self._writes = 0
        self._step, self._next_group = -1, 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tidy()
        self._find_end()

    def write(self, step: int, groups: Sequence[ActionGroup]) -> None:
        """Record the groups of one step; a step may come in several calls, in rising order.

        Raises DataError for a step before the last recorded one (``discard_after`` first) and for
        a group that is not sound.
        """
        if step < self._step:
            raise DataError(
                f"Step {step} comes after step {self._step} in {self._folder}; "
                f"call discard_after({step - 1}) when a run resumes, or use a new folder."
            )
        start = self._next_group if step == self._step else 0
        for index, group in enumerate(groups, start):
            self._rows.extend(to_rows(step, index, group))
        self._step, self._next_group = step, start + len(groups)
        self._writes += 1
        if self._writes >= self._flush_every:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered as one new part."""
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=SCHEMA)
            steps = (self._rows[0]["step"], self._rows[-1]["step"])
            live, _ = list_parts(self._folder)
            number = live[-1].last + 1 if live else 0
            write_part(part_path(self._folder, steps, (number, number)), [table])
            self._compact(self._compact_every)
        self._rows = []
        self._writes = 0

    def discard_after(self, step: int) -> None:
        """Drop every record of a later step: a run that resumes from ``step`` writes them anew."""
        self.flush()
        self._tidy()  # else parts that a dropped one had replaced would count again
        for part in list_parts(self._folder)[0]:
            if part.last_step <= step:
                continue
            if part.first_step <= step:
                table = read_part(part)
                table = table.filter(pc.less_equal(table["step"], step))
                steps = (part.first_step, pc.max(table["step"]).as_py())
                write_part(part_path(self._folder, steps, (part.first, part.last)), _by_step(table))
            part.path.unlink()
        self._find_end()

    def close(self) -> None:
        """Flush, merge what is left of small parts, delete what was merged."""
        self.flush()
        self._compact(2)
        self._tidy()

    def __enter__(self) -> GroupRecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _find_end(self) -> None:
        live, _ = list_parts(self._folder)
        self._step, self._next_group = -1, 0
        if live:
            table = read_part(live[-1], ["step", "group"])
            self._step = live[-1].last_step
            last = table.filter(pc.equal(table["step"], self._step))
            self._next_group = pc.max(last["group"]).as_py() + 1

    def _compact(self, at_least: int) -> None:
        small: list[Part] = []
        for part in reversed(list_parts(self._folder)[0]):
            if part.last > part.first:
                break
            small.insert(0, part)
        if len(small) < at_least:
            return
        self._tidy()  # of the merge before this one: a reader may still hold the parts of this
        table = pa.concat_tables(read_part(part) for part in small)
        steps = (small[0].first_step, small[-1].last_step)
        numbers = (small[0].first, small[-1].last)
        write_part(part_path(self._folder, steps, numbers), _by_step(table))

    def _tidy(self) -> None:
        for part in list_parts(self._folder)[1]:
            part.path.unlink(missing_ok=True)
        for path in self._folder.glob("steps-*.tmp"):
            path.unlink(missing_ok=True)


def _by_step(table: pa.Table) -> list[pa.Table]:
    """The table cut where the step changes; rows are ordered by step already."""
    steps = table["step"].to_numpy()
    cuts = [0, *(i for i in range(1, len(steps)) if steps[i] != steps[i - 1]), len(steps)]
    return [table.slice(a, b - a) for a, b in pairwise(cuts)]
