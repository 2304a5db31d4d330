"""Writing group records while training runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ekipl_lab.errors import DataError
from ekipl_lab.records.schema import SCHEMA, to_rows
from ekipl_lab.records.shards import (
    Shard,
    count_rows,
    list_shards,
    read_shard,
    shard_path,
    write_shard,
)
from ekipl_lab.secrets import refuse_secret_rows
from ekipl_lab.types import ActionGroup


class GroupRecordWriter:
    """Appends the groups of each step to ``folder``; one writer per folder.

    What is written is readable at once and survives the process. ``compact_every`` is the number
    of small files that are merged into one, so that long runs stay quick to search; a context
    manager merges what is left at its end. ``rows`` is how many were written in all.
    """

    def __init__(self, folder: str | Path, *, compact_every: int = 64) -> None:
        self._folder = Path(folder)
        self._compact_every = compact_every
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tidy()
        self._step, self._next_group = self._end()
        self.rows = self._rows_on_disk()

    def write(self, step: int, groups: Sequence[ActionGroup]) -> None:
        """Record the groups of one step; a step may come in several calls, in rising order.

        Raises DataError for a step before the last recorded one (``discard_after`` first) and for
        a group that is not sound, ConfigError for a secret of the environment in a text.
        """
        if step < self._step:
            raise DataError(
                f"Step {step} comes after step {self._step} in {self._folder}; "
                f"call discard_after({step - 1}) when a run resumes, or use a new folder."
            )
        start = self._next_group if step == self._step else 0
        rows = [row for i, group in enumerate(groups, start) for row in to_rows(step, i, group)]
        self._step, self._next_group = step, start + len(groups)
        if rows:
            live, _ = list_shards(self._folder)
            number = live[-1].last + 1 if live else 0
            path = shard_path(self._folder, (step, step), (number, number))
            table = pa.Table.from_pylist(rows, schema=SCHEMA)
            refuse_secret_rows(f"the group records of step {step}", table)
            write_shard(path, [table])
            self.rows += len(rows)
            self._compact(self._compact_every)

    def discard_after(self, step: int) -> None:
        """Drop every record of a later step: a run that resumes from ``step`` writes them anew."""
        self._tidy()  # else shards that a dropped one had replaced would count again
        for shard in list_shards(self._folder)[0]:
            if shard.last_step <= step:
                continue
            if shard.first_step <= step:
                table = read_shard(shard)
                table = table.filter(pc.less_equal(table["step"], step))
                steps = (shard.first_step, pc.max(table["step"]).as_py())
                path = shard_path(self._folder, steps, (shard.first, shard.last))
                write_shard(path, _by_step(table))
            shard.path.unlink()
        self._step, self._next_group = self._end()
        self.rows = self._rows_on_disk()

    def check_rows(self, expected: int | None = None) -> None:
        """DataError unless the folder holds ``expected`` rows (None: all that were written)."""
        expected, found = self.rows if expected is None else expected, self._rows_on_disk()
        if found != expected:
            raise DataError(
                f"{self._folder} holds {found} rows of group records, and the run wrote "
                f"{expected}: files were deleted or changed; put them back, or give --fresh to "
                "start anew."
            )

    def close(self) -> None:
        """Merge what is left of small shards, delete what was merged."""
        self._compact(2)
        self._tidy()

    def __enter__(self) -> GroupRecordWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows_on_disk(self) -> int:
        return sum(count_rows(shard) for shard in list_shards(self._folder)[0])

    def _end(self) -> tuple[int, int]:
        """The last step on record, and the number of its groups."""
        live, _ = list_shards(self._folder)
        if not live:
            return -1, 0
        table = read_shard(live[-1], ["step", "group"])
        last = table.filter(pc.equal(table["step"], live[-1].last_step))
        return live[-1].last_step, pc.max(last["group"]).as_py() + 1

    def _compact(self, at_least: int) -> None:
        small: list[Shard] = []
        for shard in reversed(list_shards(self._folder)[0]):
            if shard.last > shard.first:
                break
            small.insert(0, shard)
        if len(small) < at_least:
            return
        self._tidy()  # of the merge before this one: a reader may still hold the shards of this
        table = pa.concat_tables(read_shard(shard) for shard in small)
        steps = (small[0].first_step, small[-1].last_step)
        numbers = (small[0].first, small[-1].last)
        write_shard(shard_path(self._folder, steps, numbers), _by_step(table))

    def _tidy(self) -> None:
        replaced = [shard.path for shard in list_shards(self._folder)[1]]
        for path in (*replaced, *self._folder.glob("steps-*.tmp")):
            path.unlink(missing_ok=True)


def _by_step(table: pa.Table) -> list[pa.Table]:
    """The table cut where the step changes; rows are ordered by step already."""
    steps = table["step"].to_numpy()
    cuts = [0, *(i for i in range(1, len(steps)) if steps[i] != steps[i - 1]), len(steps)]
    return [table.slice(a, b - a) for a, b in pairwise(cuts)]
