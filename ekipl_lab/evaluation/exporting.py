"""Predictions in the shapes that other evaluation tools read.

- ``export_lmms_eval``: a ``samples_*.jsonl`` as lmms-eval logs it, one line per sample, with all
  completions under ``resps``.
- ``export_vlmevalkit``: a ``.tsv`` (or ``.jsonl``) prediction file as VLMEvalKit evaluates it, with
  the columns ``index``, ``question``, ``answer``, ``prediction``; greedy records only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation.chains import with_samples
from ekipl_lab.evaluation.metrics import mean_of
from ekipl_lab.files import csv_text, write_text
from ekipl_lab.prompts import prompt_text
from ekipl_lab.types import EvalRecord, Sample


def export_lmms_eval(
    path: str | Path, records: Iterable[EvalRecord], samples: Iterable[Sample]
) -> int:
    """Write one JSON line per record, atomically; returns how many.

    ``doc_id`` is the place of the sample among ``samples``, the same in both modes. ``resps`` holds
    the whole completions, ``filtered_resps`` the extracted answers (the empty text where there is
    none), ``accuracy`` the mean accuracy component of those that could be scored.
    """
    lines = []
    samples = list(samples)
    places = {sample.id: place for place, sample in enumerate(samples)}
    for record, sample in with_samples(records, samples):
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
                    "accuracy": mean_of(r.components.get("accuracy") for r in record.rewards),
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
    for index, (record, sample) in enumerate(with_samples(records, samples)):
        if len(record.actions) != 1:
            raise ConfigError(
                f"Sample {record.sample_id} has {len(record.actions)} predictions where VLMEvalKit "
                "reads one; give greedy records."
            )
        rows.append(_vlmevalkit_row(index, record, sample))
    if path.suffix == ".tsv":
        columns = list(rows[0]) if rows else []
        write_text(path, csv_text(columns, (row.values() for row in rows), delimiter="\t"))
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
