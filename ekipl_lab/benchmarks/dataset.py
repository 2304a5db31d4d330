"""Samples as a ``datasets.Dataset`` with image columns, for trainers and notebooks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import DataError
from ekipl_lab.types import Sample

if TYPE_CHECKING:
    from datasets import Dataset

_TEXT = ("id", "task", "split", "question", "answer", "answer_type", "family")


def as_dataset(samples: Sequence[Sample]) -> Dataset:
    """One row per sample: ``images`` (a list, one or two), the text fields, ``difficulty``.

    ``choices`` is a list of strings, ``metadata`` JSON text (its shape differs between tasks),
    ``cot`` a string or null. Raises DataError for no samples.
    """
    if not samples:
        raise DataError("A dataset needs at least one sample; raise the limit.")
    import datasets

    texts = (*_TEXT, "cot", "metadata")
    features: dict[str, Any] = {name: datasets.Value("string") for name in texts}
    features |= {
        "difficulty": datasets.Value("int32"),
        "choices": datasets.List(datasets.Value("string")),
        "images": datasets.List(datasets.Image()),
    }
    columns: dict[str, list[Any]] = {
        name: [getattr(sample, name) for sample in samples]
        for name in (*_TEXT, "cot", "difficulty")
    }
    for name in ("choices", "images"):
        columns[name] = [list(getattr(sample, name)) for sample in samples]
    columns["metadata"] = [json.dumps(sample.metadata, sort_keys=True) for sample in samples]
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))
