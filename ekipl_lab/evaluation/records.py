"""EvalRecords as a Parquet file: one row per action, readable with any Parquet tool.

Columns: the fields of the record (``sample_id`` ... ``mode``), ``action_index``, and those of group
records for the action and its reward. Rows of one record are neighbours, in sampling order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ekipl_lab.codec import action_of, action_row, reward_of, reward_row
from ekipl_lab.errors import DataError
from ekipl_lab.files import replacing
from ekipl_lab.parquet import SEAL, is_whole, seal
from ekipl_lab.records import schema as group_records
from ekipl_lab.secrets import refuse_secret_rows
from ekipl_lab.types import EvalRecord

RECORD_FIELDS = ("sample_id", "task", "split", "family", "difficulty", "model_id", "mode")
_ACTION_AND_REWARD = (
    "completion", "source", "token_ids", "logprobs", "tokenizer_id", "finish_reason", "usage",
    "components", "weights", "success", "extracted_answer", "explanation",
)  # fmt: skip

#: Columns that only training needs.
_TOKENS = ("token_ids", "logprobs")

SCHEMA = pa.schema(
    [
        *(group_records.SCHEMA.field(name) for name in RECORD_FIELDS if name != "mode"),
        ("mode", pa.string()),
        ("action_index", pa.int32()),
        ("action_model_id", pa.string()),
        *(group_records.SCHEMA.field(name) for name in _ACTION_AND_REWARD),
    ]
)


def write_records(path: str | Path, records: Iterable[EvalRecord]) -> None:
    """Write all records to ``path``, atomically; ConfigError for a secret in a text."""
    path = Path(path)
    rows = [row for record in records for row in _rows(record)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    refuse_secret_rows(str(path), table)
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(SEAL), temporary, write_page_checksum=True)
        seal(temporary)


def read_records(path: str | Path, *, tokens: bool = True) -> list[EvalRecord]:
    """The records of a file, in order; DataError if it is missing or not such a file.

    Without ``tokens`` the actions have no token ids and log-probabilities (None): texts and rewards
    alone, several times as fast.
    """
    if not Path(path).is_file():
        raise DataError(f"Evaluation records {path} do not exist; run the evaluation first.")
    if not is_whole(Path(path)):
        raise _unreadable(path)
    try:
        names = [] if tokens else [name for name in SCHEMA.names if name not in _TOKENS]
        table = pq.read_table(path, columns=names or None, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path) from error
    wanted = [field for field in SCHEMA if tokens or field.name not in _TOKENS]
    missing = [field.name for field in wanted if field not in table.schema]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}, or has them in an earlier form; "
            "evaluate again."
        )
    records: list[EvalRecord] = []
    group: list[dict[str, Any]] = []
    for row in table.to_pylist():
        if row["action_index"] == 0 and group:
            records.append(_record(group))
            group = []
        group.append(row if tokens else row | dict.fromkeys(_TOKENS))
    return [*records, _record(group)] if group else records


def _unreadable(path: str | Path) -> DataError:
    return DataError(f"{path} is damaged or not a Parquet file; delete it and evaluate again.")


def _rows(record: EvalRecord) -> list[dict[str, Any]]:
    head = {name: getattr(record, name) for name in RECORD_FIELDS}
    pairs = zip(record.actions, record.rewards, strict=True)
    return [
        action_row(action)
        | reward_row(reward)
        | head
        | {"action_index": index, "action_model_id": action.model_id}
        for index, (action, reward) in enumerate(pairs)
    ]


def _record(rows: Sequence[dict[str, Any]]) -> EvalRecord:
    head = {name: rows[0][name] for name in RECORD_FIELDS}
    return EvalRecord(
        **head,
        actions=tuple(action_of(row | {"model_id": row["action_model_id"]}) for row in rows),
        rewards=tuple(reward_of(row) for row in rows),
    )
