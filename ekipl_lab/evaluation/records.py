"""EvalRecords as a Parquet file: one row per action, readable with any Parquet tool.

Columns: the fields of the record (``sample_id`` ... ``mode``), ``action_index``, the fields of the
action (token ids and log-probabilities as lists, usage as JSON) and of its reward (components and
weights as JSON). Rows of one record are neighbours, in sampling order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ekipl_lab.errors import DataError
from ekipl_lab.files import replacing
from ekipl_lab.types import Action, EvalRecord, RewardBreakdown, Usage

RECORD_FIELDS = ("sample_id", "task", "split", "family", "difficulty", "model_id", "mode")

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("task", pa.string()),
        ("split", pa.string()),
        ("family", pa.string()),
        ("difficulty", pa.int32()),
        ("model_id", pa.string()),
        ("mode", pa.string()),
        ("action_index", pa.int32()),
        ("completion", pa.string()),
        ("source", pa.string()),
        ("action_model_id", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float64())),
        ("tokenizer_id", pa.string()),
        ("finish_reason", pa.string()),
        ("usage", pa.string()),
        ("components", pa.string()),
        ("weights", pa.string()),
        ("success", pa.bool_()),
        ("extracted_answer", pa.string()),
        ("explanation", pa.string()),
    ]
)


def write_records(path: str | Path, records: Iterable[EvalRecord]) -> None:
    """Write all records to ``path``, atomically."""
    path = Path(path)
    rows = [row for record in records for row in _rows(record)]
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)


def read_records(path: str | Path) -> list[EvalRecord]:
    """The records of a file, in order; DataError if it is missing or not such a file."""
    if not Path(path).is_file():
        raise DataError(f"Evaluation records {path} do not exist; run the evaluation first.")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a Parquet file; evaluate again.") from error
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; evaluate again.")
    records: list[EvalRecord] = []
    group: list[dict[str, Any]] = []
    for row in table.to_pylist():
        if row["action_index"] == 0 and group:
            records.append(_record(group))
            group = []
        group.append(row)
    return [*records, _record(group)] if group else records


def _rows(record: EvalRecord) -> list[dict[str, Any]]:
    head = {name: getattr(record, name) for name in RECORD_FIELDS}
    pairs = zip(record.actions, record.rewards, strict=True)
    return [
        {**head, "action_index": index, **action_row(action), **_reward_row(reward)}
        for index, (action, reward) in enumerate(pairs)
    ]


def action_row(action: Action) -> dict[str, Any]:
    """The plain values of an action, JSON-serialisable."""
    return {
        "completion": action.completion,
        "source": action.source,
        "action_model_id": action.model_id,
        "token_ids": None if action.token_ids is None else list(action.token_ids),
        "logprobs": None if action.logprobs is None else list(action.logprobs),
        "tokenizer_id": action.tokenizer_id,
        "finish_reason": action.finish_reason,
        "usage": None if action.usage is None else json.dumps(asdict(action.usage)),
    }


def action_of(row: dict[str, Any]) -> Action:
    """The action of such plain values."""
    return Action(
        completion=row["completion"],
        source=row["source"],
        model_id=row["action_model_id"],
        token_ids=None if row["token_ids"] is None else tuple(row["token_ids"]),
        logprobs=None if row["logprobs"] is None else tuple(row["logprobs"]),
        tokenizer_id=row["tokenizer_id"],
        finish_reason=row["finish_reason"],
        usage=None if row["usage"] is None else Usage(**json.loads(row["usage"])),
    )


def _reward_row(reward: RewardBreakdown) -> dict[str, Any]:
    return {
        "components": json.dumps(dict(reward.components)),
        "weights": json.dumps(dict(reward.weights)),
        "success": reward.success,
        "extracted_answer": reward.extracted_answer,
        "explanation": reward.explanation,
    }


def _reward_of(row: dict[str, Any]) -> RewardBreakdown:
    return RewardBreakdown(
        components=json.loads(row["components"]),
        weights=json.loads(row["weights"]),
        success=row["success"],
        extracted_answer=row["extracted_answer"],
        explanation=row["explanation"],
    )


def _record(rows: Sequence[dict[str, Any]]) -> EvalRecord:
    head = {name: rows[0][name] for name in RECORD_FIELDS}
    return EvalRecord(
        **head,
        actions=tuple(action_of(row) for row in rows),
        rewards=tuple(_reward_of(row) for row in rows),
    )
