"""The Parquet schema of group records: one row per candidate, and the way there and back.

A row holds everything of an ``Action`` and its ``RewardBreakdown``, and the group's fields beside
it, so that ``ActionGroup`` comes back field by field. Images and scenes are not stored: the sample
is named by its id (enough to rebuild it, ``ekipl_lab.benchmarks``) with its question and answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import pyarrow as pa

from ekipl_lab.codec import action_of, action_row, reward_of, reward_row
from ekipl_lab.errors import DataError
from ekipl_lab.types import Action, ActionGroup, RewardBreakdown, Sample

#: Raised by one whenever a column changes its name, type or meaning.
SCHEMA_VERSION = "1"

_SAMPLE_FIELDS = ("task", "split", "family", "difficulty", "question", "answer", "answer_type")
_CRITERIA = pa.map_(pa.string(), pa.float64())
_USAGE = pa.struct(
    [
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("cost", pa.float64()),
        ("latency", pa.float64()),
        ("cached", pa.bool_()),
    ]
)

#: One row per candidate, ordered by (step, group, candidate).
SCHEMA = pa.schema(
    [
        ("step", pa.int64()),  # optimiser step the group was generated for
        ("group", pa.int32()),  # index of the group within the step
        ("rule", pa.string()),  # selection rule
        ("sample_id", pa.string()),
        ("task", pa.string()),
        ("split", pa.string()),
        ("family", pa.string()),
        ("difficulty", pa.int32()),
        ("question", pa.string()),
        ("answer", pa.string()),  # the ground truth
        ("answer_type", pa.string()),
        ("candidate", pa.int32()),  # index in the pool: policy first, then teachers
        ("source", pa.string()),  # "policy" or the teacher's id
        ("model_id", pa.string()),
        ("completion", pa.string()),
        ("num_tokens", pa.int32()),  # null where the source counts none
        ("finish_reason", pa.string()),
        ("components", _CRITERIA),  # criterion -> value; null = could not be scored
        ("weights", _CRITERIA),  # criterion -> weight in the total
        ("total", pa.float64()),  # null = could not be scored
        ("success", pa.bool_()),
        ("extracted_answer", pa.string()),
        ("explanation", pa.string()),
        ("kept", pa.bool_()),
        ("advantage", pa.float64()),  # null for a dropped candidate
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float64())),  # natural log, of the source's own tokens
        ("tokenizer_id", pa.string()),
        ("usage", _USAGE),
    ],
    metadata={"ekipl.group_records": SCHEMA_VERSION},
)


@dataclass(frozen=True, slots=True)
class RecordedGroup:
    """One group as it was recorded: an ActionGroup whose sample is named, not held."""

    step: int
    group: int
    sample_id: str
    task: str
    split: str
    family: str
    difficulty: int
    question: str
    answer: str
    answer_type: str
    candidates: tuple[Action, ...]
    rewards: tuple[RewardBreakdown, ...]
    kept: tuple[int, ...]
    advantages: tuple[float, ...]
    rule: str

    def with_sample(self, sample: Sample) -> ActionGroup:
        """The ActionGroup again, given the rebuilt sample.

        Raises DataError if ``sample`` is not the recorded one (id, question or answer differ).
        """
        for name in ("question", "answer"):
            if sample.id != self.sample_id or getattr(sample, name) != getattr(self, name):
                raise DataError(
                    f"Sample {sample.id!r} is not the recorded {self.sample_id!r} or its {name} "
                    "changed; rebuild it with the benchmark version that the run used."
                )
        return ActionGroup(
            sample, self.candidates, self.rewards, self.kept, self.advantages, self.rule
        )

    def differences(self, group: ActionGroup) -> list[str]:
        """Names of the fields in which ``group`` differs from this record; empty when equal."""
        (other,) = from_rows(to_rows(self.step, self.group, group))
        return [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]


def to_rows(step: int, index: int, group: ActionGroup) -> list[dict[str, Any]]:
    """Rows of one group, one per candidate, in pool order. Raises DataError if it is not sound."""
    _check(step, index, group)
    advantage = dict(zip(group.kept, group.advantages, strict=True))
    sample = group.sample
    shared = {
        "step": step,
        "group": index,
        "rule": group.rule,
        "sample_id": sample.id,
        **{name: getattr(sample, name) for name in _SAMPLE_FIELDS},
    }
    return [
        shared
        | {"candidate": i, "kept": i in advantage, "advantage": advantage.get(i)}
        | {"num_tokens": _num_tokens(action)}
        | action_row(action)
        | reward_row(reward)
        for i, (action, reward) in enumerate(zip(group.candidates, group.rewards, strict=True))
    ]


def _check(step: int, index: int, group: ActionGroup) -> None:
    name = f"Group {index} of step {step} (sample {group.sample.id!r})"
    n = len(group.candidates)
    if len(group.rewards) != n or len(group.advantages) != len(group.kept):
        raise DataError(
            f"{name} has {n} candidates, {len(group.rewards)} rewards, {len(group.kept)} kept and "
            f"{len(group.advantages)} advantages; build it with groups.build_group."
        )
    if list(group.kept) != sorted({i for i in group.kept if 0 <= i < n}):
        raise DataError(f"{name} keeps {group.kept}, not rising indices of its {n} candidates.")


def _num_tokens(action: Action) -> int | None:
    if action.token_ids is not None:
        return len(action.token_ids)
    return None if action.usage is None else action.usage.completion_tokens


def from_rows(rows: Iterable[Mapping[str, Any]]) -> list[RecordedGroup]:
    """Groups of whole, ordered rows."""
    return [
        _group(list(whole))
        for _, whole in groupby(rows, key=lambda row: (row["step"], row["group"]))
    ]


def _group(rows: Sequence[Mapping[str, Any]]) -> RecordedGroup:
    first = rows[0]
    if [row["candidate"] for row in rows] != list(range(len(rows))):
        raise DataError(
            f"Group {first['group']} of step {first['step']} lacks candidates; read whole groups."
        )
    kept = [row for row in rows if row["kept"]]
    shared = ("step", "group", "rule", "sample_id", *_SAMPLE_FIELDS)
    return RecordedGroup(
        **{name: first[name] for name in shared},
        candidates=tuple(action_of(row) for row in rows),
        rewards=tuple(reward_of(row) for row in rows),
        kept=tuple(row["candidate"] for row in kept),
        advantages=tuple(row["advantage"] for row in kept),
    )
