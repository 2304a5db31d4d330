"""What can be said of every recorded group at a glance, from a few columns of its records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ekipl_lab import records
from ekipl_lab.types import POLICY

_COLUMNS = ("step", "group", "source", "kept", "success", "total")


@dataclass(frozen=True, slots=True)
class GroupMark:
    """``zero``: the kept rewards are all equal. ``teacher``: a teacher's action was kept;
    ``taught``: a right one, where no action of the policy was right."""

    step: int
    group: int
    zero: bool
    teacher: bool
    taught: bool


def read_marks(folder: Path) -> tuple[GroupMark, ...]:
    """The marks of all groups in a record folder, by step and group."""
    table = records.read_groups(folder, columns=list(_COLUMNS))
    policy = pc.equal(table["source"], POLICY)
    right = pc.fill_null(table["success"], False)
    teacher = pc.and_(table["kept"], pc.invert(policy))
    flags = {
        "policy_right": pc.and_(policy, right),
        "teacher": teacher,
        "teacher_right": pc.and_(teacher, right),
    }
    columns = {name: pc.cast(values, pa.int8()) for name, values in flags.items()}
    columns |= {"step": table["step"], "group": table["group"]}
    columns["total"] = pc.if_else(table["kept"], table["total"], None)
    rows = pa.table(columns).group_by(["step", "group"], use_threads=False)
    sums = rows.aggregate([("total", "min"), ("total", "max"), *[(name, "max") for name in flags]])
    return tuple(
        GroupMark(
            step=row["step"],
            group=row["group"],
            zero=row["total_min"] is None or row["total_min"] == row["total_max"],
            teacher=bool(row["teacher_max"]),
            taught=bool(row["teacher_right_max"]) and not row["policy_right_max"],
        )
        for row in sums.sort_by([("step", "ascending"), ("group", "ascending")]).to_pylist()
    )


def search_groups(folder: Path, text: str) -> tuple[tuple[int, int], ...]:
    """Step and group of every group in which a completion holds a text, whatever its case."""
    table = records.read_groups(folder, columns=["step", "group", "completion"])
    found = table.filter(pc.match_substring(table["completion"], text, ignore_case=True))
    pairs = zip(found["step"].to_pylist(), found["group"].to_pylist(), strict=True)
    return tuple(dict.fromkeys(pairs))
