"""A teacher that repeats recorded actions: from a file, or from the chains of the data itself.

File: JSON Lines (``.jsonl``) or Parquet (``.parquet``), one action per row, with the columns
``sample_id`` and ``completion`` and, if present, ``model_id``, ``finish_reason`` (stop or length)
and ``prompt``, the digest of what was asked (`prompt_digest`): another prompt under the same id is
refused. A completion may be empty only beside it: the teacher that was recorded gave nothing. The
actions of a sample keep the order of the file. A second draw
(``GenerationParams.seed`` = 1) takes the next actions, starting over at the end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from ekipl_lab.errors import ConfigError, DataError, TeacherError
from ekipl_lab.parsing import parse_completion
from ekipl_lab.prompts import build_messages
from ekipl_lab.rewards import get_scorer
from ekipl_lab.teachers.adapters.text import TextTeacher
from ekipl_lab.teachers.gateway.cache import cache_key
from ekipl_lab.teachers.gateway.types import image_digest
from ekipl_lab.teachers.spec import FINISH_REASONS, TeacherContext, TeacherSpecBase
from ekipl_lab.types import Action, GenerationParams, Sample

#: Columns that a recording may have.
_MORE = ("model_id", "finish_reason", "prompt")


class ReplaySpec(TeacherSpecBase):
    """Repeats a recording (``path``), or the chains of the data (``cot: true``)."""

    type: Literal["replay"] = "replay"
    path: Path | None = None
    cot: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.path is None) != self.cot:
            raise ValueError("give either `path` or `cot: true`")
        if self.cot and self.actions != 1:
            raise ValueError("the data hold one chain per sample; set `actions` to 1")
        return self

    def build(self, context: TeacherContext) -> TextTeacher:
        return CotTeacher(self.id) if self.path is None else ReplayTeacher(self.id, self.path)

    def fingerprint(self) -> str:
        return "" if self.path is None else sha256(self.path.read_bytes()).hexdigest()


class ReplayTeacher(TextTeacher):
    """Repeats the actions of a recording; ``path`` is the file (see the module's docstring)."""

    def __init__(self, id: str, path: str | Path) -> None:
        super().__init__(id)
        self._path = Path(path)
        self._actions: dict[str, list[Action]] = {}
        self._prompts: dict[str, set[str]] = {}
        for number, row in enumerate(_read_rows(self._path), start=1):
            _check_row(row, f"{path}, record {number}")
            action = self._action(
                row["completion"],
                row.get("model_id") or "replay",
                row.get("finish_reason") or "stop",
            )
            self._actions.setdefault(row["sample_id"], []).append(action)
            if row.get("prompt"):
                self._prompts.setdefault(row["sample_id"], set()).add(row["prompt"])
        counts = {id: len(self._actions[id]) for id in self._prompts}
        if counts and min(counts.values()) < max(counts.values()):
            raise DataError(
                f"{path} is not whole: it holds {min(counts.values())} actions for sample "
                f"{min(counts, key=lambda id: counts[id])} and {max(counts.values())} for others; "
                "record it again."
            )

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """The next recorded actions; TeacherError if a sample has fewer than ``num_actions``."""
        return [self._next(sample, num_actions, params.seed or 0) for sample in samples]

    def _next(self, sample: Sample, num_actions: int, draw: int) -> list[Action]:
        recorded = self._actions.get(sample.id, [])
        if len(recorded) < num_actions:
            raise TeacherError(
                f"Teacher {self.id!r}: {self._path} holds {len(recorded)} actions for sample "
                f"{sample.id}, and {num_actions} are asked for."
            )
        if self._prompts.get(sample.id, set()) - {prompt_digest(sample)}:
            raise TeacherError(
                f"Teacher {self.id!r}: {self._path} holds actions for another prompt of sample "
                f"{sample.id} (its text or images have changed since); record it again."
            )
        start = draw * num_actions
        return [recorded[(start + index) % len(recorded)] for index in range(num_actions)]


def prompt_digest(sample: Sample) -> str:
    """16 hex digits of what a teacher is shown: messages and pixels."""
    images = [image_digest(image) for image in sample.images]
    return cache_key({"messages": build_messages(sample), "images": images})[:16]


def _check_row(row: Mapping[str, Any], where: str) -> None:
    for name in ("sample_id", "completion", *_MORE):
        value = row.get(name)
        if not isinstance(value, str) or not value:
            recorded_as_empty = name == "completion" and value == "" and row.get("prompt")
            if recorded_as_empty or (name in _MORE and value in (None, "")):
                continue
            raise DataError(f"{where}: field {name!r} must be a text that is not empty.")
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise DataError(f"{where}: field {name!r} holds half a character (a lone surrogate).")
    if row.get("finish_reason") not in (None, "", *FINISH_REASONS):
        raise DataError(
            f"{where}: finish_reason is {row['finish_reason']!r}; it must be stop, or length for "
            "an action that was cut off."
        )


class CotTeacher(TextTeacher):
    """Gives the reasoning chain that the data bring along (``Sample.cot``), one per sample.

    A chain without tags is put into think tags and followed by the sample's answer.
    """

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """The chain of every sample; TeacherError without one, or for more than one action."""
        if num_actions != 1:
            raise TeacherError(
                f"Teacher {self.id!r}: the data hold one chain per sample; set actions to 1."
            )
        return super().propose(samples, num_actions, params)

    def _act(self, sample: Sample, rng: random.Random) -> Action:
        if not sample.cot or not sample.cot.strip():
            raise TeacherError(f"Teacher {self.id!r}: sample {sample.id} has no reasoning chain.")
        return self._action(completion_of(sample), "cot")


def completion_of(sample: Sample) -> str:
    """The chain of a sample that has one, as a completion."""
    text = (sample.cot or "").strip()
    if "<think>" not in text and "<answer>" not in text:
        text = f"<think>{text}</think><answer>{sample.answer}</answer>"
    return text


def chain_fault(sample: Sample) -> str:
    """Why the chain of a sample that has one is no completion to learn; empty if it is."""
    completion = completion_of(sample)
    parsed = parse_completion(completion)
    if not parsed.format_ok:
        return f"it is not in the form of a completion ({parsed.problem})"
    if get_scorer("ekipl/auto")(sample, Action(completion, "data", "cot")).success is not True:
        return f"it ends with {parsed.answer!r}, and the answer is {sample.answer!r}"
    return ""


def _read_rows(path: Path) -> list[Mapping[str, Any]]:
    if not path.is_file():
        raise ConfigError(f"Recording {path} does not exist; record it first or fix `path`.")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix == ".jsonl":
        return _read_jsonl(path)
    raise ConfigError(f"Recording {path} must end in .jsonl or .parquet.")


def _read_parquet(path: Path) -> list[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_table(path).to_pylist())
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no Parquet file that can be read ({error}).") from error


def _read_jsonl(path: Path) -> list[Mapping[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # nothing else ends a line of JSON
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}).") from error
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # also numbers or nesting beyond all bounds
            raise DataError(f"{path}, line {number}: not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: not a JSON object.")
        rows.append(row)
    return rows
