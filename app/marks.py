"""What can be said of every recorded group at a glance, from a few columns of its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from app.filters import GROUP_COLUMNS, GROUP_FILTERS, group_facts, unsound
from ekipl_lab import benchmarks, records
from ekipl_lab.errors import EKIPLError
from ekipl_lab.types import Sample


@dataclass(frozen=True, slots=True)
class GroupMark:
    """``zero``: the kept rewards are all equal. ``teacher``: a teacher's action was kept;
    ``taught``: a right one, where no action of the policy was right."""

    step: int
    group: int
    zero: bool
    teacher: bool
    taught: bool


@dataclass(frozen=True, slots=True)
class RunMarks:
    """All groups of a run: `filters.group_facts` (None: there are none), a mark for each in order,
    the (step, group) of each, step -> number of groups, the families and the difficulties that
    there are, the easiest first."""

    facts: pa.Table | None = None
    marks: tuple[GroupMark, ...] = ()
    places: tuple[tuple[int, int], ...] = ()
    groups: Mapping[int, int] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    difficulties: tuple[str, ...] = ()


def read_marks(folder: Path) -> RunMarks:
    """The marks of all groups in a record folder."""
    facts = group_facts(records.read_groups(folder, columns=list(GROUP_COLUMNS)))
    if not facts.num_rows:
        return RunMarks()
    marks = marks_of(facts)
    families = sorted({name for name in pc.unique(facts["family"]).to_pylist() if name})
    levels = sorted(
        level for level in pc.unique(facts["difficulty"]).to_pylist() if level is not None
    )
    places = tuple((mark.step, mark.group) for mark in marks)
    return RunMarks(
        facts,
        marks,
        places,
        groups=Counter(step for step, _ in places),
        families=tuple(families),
        difficulties=tuple(map(str, levels)),
    )


def marks_of(facts: pa.Table) -> tuple[GroupMark, ...]:
    """The marks of groups, by step and group."""
    marks = (facts[name].to_pylist() for name in ("step", "group"))
    flags = (GROUP_FILTERS[name][1](facts).to_pylist() for name in ("zero_spread", "teacher_kept"))
    taught = pc.and_(pc.greater(facts["both"], 0), pc.equal(facts["policy_right"], 0))
    return tuple(map(GroupMark, *marks, *flags, taught.to_pylist()))


def search_groups(folder: Path, text: str) -> tuple[tuple[int, int], ...]:
    """Step and group of every group in which a completion holds a text, whatever its case."""
    table = records.read_groups(folder, columns=["step", "group", "completion"])
    found = table.filter(pc.match_substring(table["completion"], text, ignore_case=True))
    pairs = zip(found["step"].to_pylist(), found["group"].to_pylist(), strict=True)
    return tuple(dict.fromkeys(pairs))


def unsound_groups(folder: Path) -> tuple[tuple[int, int], ...]:
    """Step and group of every group in which an action is right by a chain that is not sound, as
    far as its scene is known (`is_checked`) and its question has not changed since."""
    names = ["step", "group", "sample_id", "question", "answer", "completion", "success"]
    rows = records.read_groups(folder, columns=names)
    right = rows.filter(pc.fill_null(rows["success"], False)).drop_columns("success")
    found: dict[tuple[int, int], None] = {}
    for step, group, *chain in zip(*(column.to_pylist() for column in right.columns), strict=True):
        if (step, group) not in found and _unsound(*chain):
            found[step, group] = None
    return tuple(found)


def is_checked(sample_id: str) -> bool:
    """Whether a sample's scene is known, so that its chains can be checked."""
    return sample_id.startswith("mini/")


@lru_cache(maxsize=65_536)
def _unsound(sample_id: str, question: str, answer: str, completion: str) -> bool:
    sample = _scene(sample_id)
    known = sample is not None and (sample.question, sample.answer) == (question, answer)
    return sample is not None and known and unsound(sample, completion)


@lru_cache(maxsize=4_096)
def _scene(sample_id: str) -> Sample | None:
    try:
        return benchmarks.load_sample(sample_id) if is_checked(sample_id) else None
    except EKIPLError:  # not in the benchmark of today
        return None
