"""What a reader may ask to see alone: items of an evaluation, groups of training. Pure functions.

``ITEM_FILTERS`` ask one record, if need be beside the record of the same item that another
checkpoint, run or teacher gave. ``GROUP_FILTERS`` ask a table of one row per group
(``group_facts``), so that a run with a million candidates is filtered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from app.chains import check_steps
from ekipl_lab.errors import unknown_name
from ekipl_lab.evaluation.metrics import success_counts
from ekipl_lab.types import POLICY, EvalRecord, Sample

#: Columns of group records that ``group_facts`` needs.
GROUP_COLUMNS = (
    "step", "group", "family", "difficulty", "source", "success", "kept", "total", "components",
)  # fmt: skip
_KEYS = ("step", "group", "family", "difficulty")


@dataclass(frozen=True, slots=True)
class Item:
    """One measured item, and its record elsewhere where that is compared; None if not there."""

    record: EvalRecord
    other: EvalRecord | None = None

    @property
    def verdict(self) -> str:
        """``right``, ``wrong`` or ``unscored``; sampled: of at least half its actions."""
        return verdict_of(self.record)

    @property
    def other_verdict(self) -> str:
        """The same of the record elsewhere; empty where there is none."""
        return "" if self.other is None else verdict_of(self.other)


def verdict_of(record: EvalRecord) -> str:
    """``right`` where at least half of the actions that could be scored are."""
    known, right = success_counts(record)
    return "unscored" if not known else "right" if 2 * right >= known else "wrong"


def share_right(record: EvalRecord) -> float | None:
    """The share of right actions among those that could be scored; None if there are none."""
    known, right = success_counts(record)
    return right / known if known else None


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """``keeps(item)``; ``beside``: it needs a record to compare with; ``scene``: a right action of
    the record must be ``unsound``, too."""

    title: str
    keeps: Callable[[Item], bool]
    beside: bool = False
    scene: bool = False


def _flips(here: str, there: str) -> Callable[[Item], bool]:
    return lambda item: (item.verdict, item.other_verdict) == (here, there)


def _format_failure(item: Item) -> bool:
    values = [reward.components.get("format") for reward in item.record.rewards]
    return any(value is not None and value < 1.0 for value in values)


def _mixed(item: Item) -> bool:
    share = share_right(item.record)
    return share is not None and 0.0 < share < 1.0


ITEM_FILTERS: Mapping[str, ItemFilter] = {
    "all": ItemFilter("every item", lambda item: True),
    "wrong": ItemFilter("wrong here", lambda item: item.verdict == "wrong"),
    "right": ItemFilter("right here", lambda item: item.verdict == "right"),
    "lost": ItemFilter("wrong here, right there", _flips("wrong", "right"), beside=True),
    "gained": ItemFilter("right here, wrong there", _flips("right", "wrong"), beside=True),
    "differ": ItemFilter(
        "one right, the other wrong",
        lambda item: {item.verdict, item.other_verdict} == {"right", "wrong"},
        beside=True,
    ),
    "both_wrong": ItemFilter("wrong here and there", _flips("wrong", "wrong"), beside=True),
    "mixed": ItemFilter("sampled: some right, some wrong", _mixed),
    "unsound": ItemFilter("right answer, wrong chain", lambda item: item.verdict == "right",
                          scene=True),
    "format": ItemFilter("not in the asked form", _format_failure),
    "cut": ItemFilter(
        "cut off by the token limit",
        lambda item: any(action.finish_reason == "length" for action in item.record.actions),
    ),
    "unscored": ItemFilter("could not be scored", lambda item: item.verdict == "unscored"),
}  # fmt: skip


def unsound(sample: Sample, completion: str) -> bool:
    """Whether a chain has a false step, or one from which its answer does not follow; False where
    nothing checks it."""
    check = check_steps(sample, completion)
    return check is not None and not check.sound


def says(record: EvalRecord, words: str) -> bool:
    """Whether a chain of the record holds the words; blanks and capitals do not count."""
    wanted = " ".join(words.lower().split())
    return any(wanted in " ".join(action.completion.lower().split()) for action in record.actions)


def group_facts(rows: pa.Table) -> pa.Table:
    """One row per group of group records, by step and group: ``step``, ``group``, ``family``,
    ``difficulty``, ``policy`` and ``policy_right`` (the policy's scored and right actions),
    ``teacher_right``, ``teacher_kept``, ``both`` (kept and right), ``misformed`` (actions of all
    not in the asked form), and the ``low`` and ``high`` of the kept rewards (null where none could
    be scored)."""
    own = pc.equal(rows["source"], POLICY)
    right, kept = pc.fill_null(rows["success"], False), rows["kept"]
    form = pc.map_lookup(rows["components"], pa.scalar("format"), "first")
    facts = {
        "policy": pc.and_(own, pc.is_valid(rows["success"])),
        "policy_right": pc.and_(own, right),
        "teacher_right": pc.and_(pc.invert(own), right),
        "teacher_kept": pc.and_(pc.invert(own), kept),
        "both": pc.and_(pc.invert(own), pc.and_(right, kept)),
        "misformed": pc.fill_null(pc.less(form, 1.0), False),
    }
    table = pa.table(
        {name: rows[name] for name in _KEYS}
        | {name: pc.cast(mask, pa.int32()) for name, mask in facts.items()}
        | {"reward": pc.if_else(kept, rows["total"], pa.scalar(None, pa.float64()))}
    )
    found = table.group_by(list(_KEYS), use_threads=False).aggregate(
        [*((name, "sum") for name in facts), ("reward", "min"), ("reward", "max")]
    )
    found = found.rename_columns([*_KEYS, *facts, "low", "high"])
    return found.sort_by([("step", "ascending"), ("group", "ascending")])


#: The group filter that also needs a checker: its mask keeps groups with a right action, of which
#: `recorded_groups.list_groups` leaves those where one has a wrong chain.
UNSOUND = "unsound"
#: A mask over the rows of ``group_facts``.
GroupFilter = Callable[[pa.Table], pa.ChunkedArray]

#: Name -> (title, mask).
GROUP_FILTERS: Mapping[str, tuple[str, GroupFilter]] = {
    "all": ("every group", lambda facts: pc.is_valid(facts["step"])),
    "teacher_kept": (
        "a teacher's action was kept", lambda facts: pc.greater(facts["teacher_kept"], 0)
    ),
    "taught": (
        "policy wrong, a right teacher's action kept",
        lambda facts: pc.and_(_all_wrong(facts), pc.greater(facts["both"], 0)),
    ),
    "shown": (
        "policy wrong, a teacher right",
        lambda facts: pc.and_(_all_wrong(facts), pc.greater(facts["teacher_right"], 0)),
    ),
    "all_wrong": ("every policy action wrong", lambda facts: _all_wrong(facts)),
    "all_right": (
        "every policy action right",
        lambda facts: pc.and_(
            pc.greater(facts["policy"], 0), pc.equal(facts["policy_right"], facts["policy"])
        ),
    ),
    "mixed": (
        "some policy actions right",
        lambda facts: pc.and_(
            pc.greater(facts["policy_right"], 0), pc.less(facts["policy_right"], facts["policy"])
        ),
    ),
    "zero_spread": (
        "kept rewards all alike",
        lambda facts: pc.fill_null(pc.equal(facts["low"], facts["high"]), True),
    ),
    UNSOUND: (
        "a right answer, wrong chain",
        lambda facts: pc.greater(pc.add(facts["policy_right"], facts["teacher_right"]), 0),
    ),
    "format": ("an action not in the asked form", lambda facts: pc.greater(facts["misformed"], 0)),
}  # fmt: skip


def _all_wrong(facts: pa.Table) -> pa.ChunkedArray:
    return pc.and_(pc.greater(facts["policy"], 0), pc.equal(facts["policy_right"], 0))


def matching_groups(
    facts: pa.Table, name: str, family: str = "", difficulty: str = ""
) -> list[tuple[int, int]]:
    """(step, group) of the groups, of one family and difficulty if they are named, that a filter
    keeps, in order; ConfigError for an unknown filter."""
    if name not in GROUP_FILTERS:
        raise unknown_name("filter", name, GROUP_FILTERS)
    found = facts.filter(GROUP_FILTERS[name][1](facts))
    if family:
        found = found.filter(pc.equal(found["family"], family))
    if difficulty:
        found = found.filter(pc.equal(pc.cast(found["difficulty"], pa.string()), difficulty))
    return list(zip(found["step"].to_pylist(), found["group"].to_pylist(), strict=True))
