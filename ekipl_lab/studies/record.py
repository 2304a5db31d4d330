"""What is kept of a finished cell: a small JSON file, from which everything is drawn.

    cell, study, arm, task, seed, command    which it is, and how to make it again
    settings, code                           hash of its settings; revision, and whether changed
    inputs      what it rests on beside (own data, the policy) -> digest, see `inputs`
    cost        policy_completions, policy_tokens, trained_tokens, teacher_actions, teacher_tokens,
                wall_seconds, cpu_seconds    (evaluation apart: evaluation_seconds)
    parts       each kind of work: its amount and CPU seconds, for estimates
    final       set -> group -> metric -> value of the last policy (groups: all, each family)
    items       set -> per item what paired statistics need (`pack`)
    curve       measurements in between: stage, step, costs so far, metrics
    sha256      of all of that; records of earlier versions have none

Of an item: its id, family, difficulty, one sign for the greedy answer (1, 0, - not scored), and how
many of how many sampled answers were right. `unpack` turns them into EvalRecords, whose answers
are empty, so that `ekipl_lab.evaluation` compares cells as it compares runs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ekipl_lab.errors import DataError
from ekipl_lab.evaluation import ChainCheck, summarize
from ekipl_lab.evaluation.metrics import success_counts
from ekipl_lab.files import read_note, sealed, write_text
from ekipl_lab.types import POLICY, Action, EvalRecord, RewardBreakdown

_SIGNS = {True: "1", False: "0", None: "-"}
_VALUES = {sign: value for value, sign in _SIGNS.items()}
_ACTION = Action("", POLICY, "")
_REWARDS = {value: RewardBreakdown({}, {}, value) for value in _SIGNS}
#: What a record's costs have.
COST_AXES = (
    "policy_completions", "policy_tokens", "trained_tokens", "teacher_actions", "teacher_tokens",
    "wall_seconds", "cpu_seconds",
)  # fmt: skip
#: The artifact of a cell's MLflow run that holds its record.
RECORD = "record.json"
#: Keys of a record; a file without one of them is none.
KEYS = (
    "study", "cell", "arm", "task", "seed", "settings", "code", "cost", "final", "items", "curve",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CellRecord:
    """A record that was read: ``raw`` is the file, ``records`` set -> its items."""

    raw: Mapping[str, Any]
    records: Mapping[str, list[EvalRecord]]

    @property
    def arm(self) -> str:
        """The arm."""
        return str(self.raw["arm"])

    @property
    def task(self) -> str:
        """The task."""
        return str(self.raw["task"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.raw["seed"])


def settings_hash(value: Any) -> str:
    """16 hex digits of plain values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pack(records: Sequence[EvalRecord]) -> dict[str, Any]:
    """The items of one set: one greedy and one sampled record of each, in the same order."""
    greedy = [record for record in records if record.mode == "greedy"]
    sampled = [record for record in records if record.mode == "sampled"]
    if [r.sample_id for r in greedy] != [r.sample_id for r in sampled]:
        raise DataError("A cell needs a greedy and a sampled record of every item, in one order.")
    ids = [record.sample_id for record in greedy]
    prefix = _prefix(ids)
    counts = [success_counts(record) for record in sampled]
    return {
        "task": greedy[0].task,
        "split": greedy[0].split,
        "prefix": prefix,
        "ids": [name.removeprefix(prefix) for name in ids],
        "family": [record.family for record in greedy],
        "difficulty": [record.difficulty for record in greedy],
        "greedy": "".join(_SIGNS[record.rewards[0].success] for record in greedy),
        "right": [right for _, right in counts],
        "scored": [known for known, _ in counts],
    }


def _prefix(ids: Sequence[str]) -> str:
    """What all ids begin with; nothing for a single one."""
    same = itertools.takewhile(lambda signs: len(set(signs)) == 1, zip(*ids, strict=False))
    return "".join(signs[0] for signs in same) if len(ids) > 1 else ""


def unpack(items: Mapping[str, Any], model_id: str) -> list[EvalRecord]:
    """The records of a packed set, greedy ones first."""
    columns = ("ids", "family", "difficulty", "greedy", "right", "scored")
    found: dict[str, list[EvalRecord]] = {"greedy": [], "sampled": []}
    rows = zip(*(items[column] for column in columns), strict=True)
    for name, family, level, sign, right, scored in rows:
        if not 0 <= right <= scored:
            raise ValueError(f"{right} right of {scored} scored")
        drawn: list[bool | None] = [*[True] * right, *[False] * (scored - right)]
        outcomes = {"greedy": [_VALUES[sign]], "sampled": drawn}
        for mode, successes in outcomes.items():
            found[mode].append(
                EvalRecord(
                    sample_id=items["prefix"] + name, task=items["task"], split=items["split"],
                    family=family, difficulty=level, model_id=model_id, mode=mode,
                    actions=(_ACTION,) * len(successes),
                    rewards=tuple(_REWARDS[success] for success in successes),
                )
            )  # fmt: skip
    return found["greedy"] + found["sampled"]


def final_metrics(
    records: Iterable[EvalRecord],
    ks: Sequence[int],
    chains: Mapping[tuple[str, str, str], tuple[ChainCheck, ...]],
) -> dict[str, dict[str, float]]:
    """Group (all, each family) -> metric -> value."""
    found: dict[str, dict[str, float]] = {}
    records = list(records)
    for by in ((), ("family",)):
        for row in summarize(records, by=by, ks=ks, chains=chains):
            group = str(row.group.get("family", "all"))
            found.setdefault(group, {})[row.metric] = round(row.value, 6)
    return found


def record_text(record: Mapping[str, Any]) -> str:
    """One line a key, so that a difference of two versions can be read; sealed."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sealed(record).items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the file whole or not at all."""
    write_text(path, record_text(record))


def read_record(path: Path) -> CellRecord | None:
    """The record at ``path``, None if there is none; DataError if it is not one, or damaged."""
    try:
        raw = read_note(path)
    except DataError as error:
        raise DataError(f"{error} Delete it, and the cell is measured again.") from error
    if raw is None:
        return None
    if missing := [key for key in KEYS if key not in raw]:
        raise DataError(f"{path} is no record of a cell: it lacks {missing[0]!r}; delete it.")
    model = str(raw["cell"])
    try:
        records = {name: unpack(items, model) for name, items in raw["items"].items()}
        _check_figures(raw, records.keys())
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged: its items or figures cannot be read ({error!r}); delete it, and "
            "the cell is measured again."
        ) from error
    return CellRecord(raw, records)


def _check_figures(raw: Mapping[str, Any], sets: Collection[str]) -> None:
    """KeyError, ValueError or TypeError for figures that tables and curves could not use."""
    if type(raw["seed"]) is not int:
        raise ValueError(f"seed {raw['seed']!r}")
    str(raw["code"]["revision"]), bool(raw["code"]["changed"])
    for axis in COST_AXES:
        float(raw["cost"][axis])
    for name in sets:
        for group in raw["final"][name].values():
            {metric: float(value) for metric, value in group.items()}
        raw["final"][name]["all"]["accuracy_greedy"]
    for point in raw["curve"]:
        int(point["stage"]), float(point["policy_completions"])
        {metric: float(value) for metric, value in point["metrics"].items()}


def read_records_of(folder: Path) -> list[CellRecord]:
    """All records of a study's folder, by name; DataError for one under another name, a copy."""
    found = []
    for path in sorted((folder / "cells").glob("*.json")):
        record = read_record(path)
        if record is None:
            continue
        if record.raw["cell"] != path.stem:
            raise DataError(
                f"{path} is the record of cell {record.raw['cell']!r}, which would count twice; "
                "delete it, or give it that name."
            )
        found.append(record)
    return found
