"""Predictions in the shapes that other evaluation tools read.

- ``export_lmms_eval``: a ``samples_*.jsonl`` as lmms-eval logs it, one line per sample, with all
  completions under ``resps``.
- ``export_vlmevalkit``: a ``.tsv`` (or ``.jsonl``) prediction file as VLMEvalKit evaluates it, with
  the columns ``index``, ``question``, ``answer``, ``prediction``; greedy records only.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import write_text
from ekipl_lab.prompts import prompt_text
from ekipl_lab.types import EvalRecord, Sample


def export_lmms_eval(
    path: str | Path, records: Iterable[EvalRecord], samples: Iterable[Sample]
) -> int:
    """Write one JSON line per record, atomically; returns how many.

    ``doc_id`` is the place of the sample among ``samples``, the same for its greedy and its sampled
    record.
    ``resps`` holds the whole completions, ``filtered_resps`` the extracted answers (the empty text
    where there is none), ``accuracy`` the mean accuracy component of those that could be scored.
    """
    lines = []
    samples = list(samples)
    places = {sample.id: place for place, sample in enumerate(samples)}
    for record, sample in _paired(records, samples):
        doc = {"id": sample.id, "question": sample.question, "answer": sample.answer}
        lines.append(
            json.dumps(
                {
                    "doc_id": places[sample.id],
                    "doc": {**doc, "task": record.task, "family": record.family},
                    "target": sample.answer,
                    "arguments": [prompt_text(sample), {"mode": record.mode}],
                    "resps": [[action.completion for action in record.actions]],
                    "filtered_resps": [r.extracted_answer or "" for r in record.rewards],
                    "doc_hash": hashlib.sha256(json.dumps(doc).encode()).hexdigest(),
                    "accuracy": _accuracy(record),
                },
                ensure_ascii=False,
            )
        )
    write_text(Path(path), "".join(f"{line}\n" for line in lines))
    return len(lines)


def export_vlmevalkit(
    path: str | Path, records: Iterable[EvalRecord], samples: Iterable[Sample]
) -> int:
    """Write one prediction per greedy record to a ``.tsv`` or ``.jsonl`` file; returns how many.

    ``prediction`` is the extracted answer, or the whole completion where there is none;
    ``full_prediction`` always the completion. ConfigError for another suffix or sampled records.
    """
    path = Path(path)
    if path.suffix not in (".tsv", ".jsonl"):
        raise ConfigError(f"{path} must end in .tsv or .jsonl.")
    rows = []
    for index, (record, sample) in enumerate(_paired(records, samples)):
        if len(record.actions) != 1:
            raise ConfigError(
                f"Sample {record.sample_id} has {len(record.actions)} predictions where VLMEvalKit "
                "reads one; give greedy records."
            )
        rows.append(_vlmevalkit_row(index, record, sample))
    if path.suffix == ".tsv":
        write_text(path, _tab_separated(rows))
    else:
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return len(rows)


def _vlmevalkit_row(index: int, record: EvalRecord, sample: Sample) -> dict[str, Any]:
    completion = record.actions[0].completion
    return {
        "index": index,
        "question": sample.question,
        "answer": sample.answer,
        "prediction": record.rewards[0].extracted_answer or completion,
        "full_prediction": completion,
        "category": record.family or record.task,
        "split": record.split,
        "id": sample.id,
    }


def _tab_separated(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _paired(
    records: Iterable[EvalRecord], samples: Iterable[Sample]
) -> Iterator[tuple[EvalRecord, Sample]]:
    by_id = {sample.id: sample for sample in samples}
    for record in records:
        if record.sample_id not in by_id:
            raise DataError(f"Sample {record.sample_id} of the records is not among the samples.")
        yield record, by_id[record.sample_id]


def _accuracy(record: EvalRecord) -> float | None:
    values = [reward.components.get("accuracy") for reward in record.rewards]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
