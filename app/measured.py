"""Items of a stored evaluation beside those of another: found, filtered, summed up. No drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from app import evaluations
from app.filters import ITEM_FILTERS, Item, says, unsound, verdict_of
from app.marks import is_checked
from app.state import START
from ekipl_lab.errors import DataError, EKIPLError, unknown_name
from ekipl_lab.evaluation.slices import strata_of
from ekipl_lab.types import EvalRecord

ANY = "any"


@dataclass(frozen=True, slots=True)
class Where:
    """One measurement: a set of a source, at a checkpoint, in a mode."""

    source: str
    name: str
    checkpoint: str
    mode: str

    def records(self) -> list[EvalRecord]:
        """Its records; DataError where nothing of the mode was measured."""
        loaded = evaluations.load(self.source, self.name, self.checkpoint)
        found = [record for record in loaded if record.mode == self.mode]
        if not found:
            raise DataError(
                f"{self.name} was not measured {self.mode} at {self.checkpoint}; choose another "
                "mode or checkpoint."
            )
        return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader wants to see: the name of an item filter, fields, words in a chain."""

    keep: str = "all"
    family: str = ANY
    difficulty: str = ANY
    stratum: str = ANY
    words: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over all items of a measurement; ``gained`` and ``lost`` against another (None: no
    other)."""

    items: int
    right: int
    scored: int
    gained: int | None
    lost: int | None


def items_of(where: Where, against: Where | None) -> list[Item]:
    """Every item of a measurement with its record elsewhere, by family, difficulty and id.

    The other measurement may be of the other mode (a teacher is sampled only), of a set of another
    name, or of other items: those stand alone.
    """
    others = {} if against is None else {r.sample_id: r for r in against.records()}
    records = sorted(where.records(), key=lambda r: (r.task, r.family, r.difficulty, r.sample_id))
    return [Item(record, others.get(record.sample_id)) for record in records]


def strata(where: Where) -> dict[str, str]:
    """Sample id -> stratum by the success of the start of the same set; empty without a start."""
    try:
        return strata_of(evaluations.load(where.source, where.name, START))
    except EKIPLError:
        return {}


def select(items: Sequence[Item], wanted: Wanted, where: Where) -> list[Item]:
    """The items that a reader wants to see; ConfigError for an unknown filter."""
    if wanted.keep not in ITEM_FILTERS:
        raise unknown_name("filter", wanted.keep, ITEM_FILTERS)
    rule = ITEM_FILTERS[wanted.keep]
    known = strata(where) if wanted.stratum != ANY else {}
    return [
        item
        for item in items
        if wanted.family in (ANY, item.record.family)
        and wanted.difficulty in (ANY, str(item.record.difficulty))
        and wanted.stratum in (ANY, known.get(item.record.sample_id))
        and rule.keeps(item)
        and (not wanted.words or says(item.record, wanted.words))
        and (not rule.scene or is_unsound(where.source, item.record))
    ]


def tally(items: Sequence[Item]) -> Tally:
    """Counts over items."""
    beside = [item for item in items if item.other is not None]
    flips = [(item.other_verdict, item.verdict) for item in beside]
    return Tally(
        items=len(items),
        right=sum(item.verdict == "right" for item in items),
        scored=sum(item.verdict != "unscored" for item in items),
        gained=flips.count(("wrong", "right")) if beside else None,
        lost=flips.count(("right", "wrong")) if beside else None,
    )


def history(where: Where, sample_id: str) -> list[tuple[str, str]]:
    """(checkpoint, verdict) of an item wherever its set was measured in this mode, by step."""
    found = []
    for checkpoint in evaluations.list_checkpoints(where.source, where.name):
        for record in evaluations.load(where.source, where.name, checkpoint):
            if (record.sample_id, record.mode) == (sample_id, where.mode):
                found.append((checkpoint, verdict_of(record)))
    return found


def has_checker(record: EvalRecord) -> bool:
    """Whether chains on the item can be checked: those of the built-in tasks."""
    return is_checked(record.sample_id)


def is_unsound(source: str, record: EvalRecord) -> bool:
    """`filters.unsound` on the item of a record, remembered; False where nothing checks it."""
    if not has_checker(record):
        return False
    pairs = zip(record.actions, record.rewards, strict=True)
    right = tuple(action.completion for action, reward in pairs if reward.success)
    return bool(right) and _unsound(source, record.sample_id, right)


@lru_cache(maxsize=16_384)
def _unsound(source: str, sample_id: str, completions: tuple[str, ...]) -> bool:
    try:
        sample = evaluations.sample_of(source, sample_id)
    except DataError:
        return False
    return any(unsound(sample, text) for text in completions)
