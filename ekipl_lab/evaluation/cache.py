"""What an evaluation has generated so far, so that a killed one continues where it was.

One folder: ``key.json`` says what is being evaluated, ``part-XXXXXX.jsonl`` hold the actions, one
sample per line with its checksum, appended as soon as the sample has all of its actions; each
process that adds to the folder writes a part of its own. A last line without its end is what a
killed process was writing, and is passed over. Rewards are not cached: scoring is cheap, and the
scorer may have changed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.codec import action_of, action_row
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import read_json, write_text
from ekipl_lab.images import IMAGE_MARK, pixel_parts
from ekipl_lab.prompts import build_messages, prompt_text
from ekipl_lab.types import Action, Sample

_SUM = "sha256"


def sample_digest(sample: Sample) -> str:
    """16 hex digits of what the model is shown: text, choices and pixels."""
    text: Any = prompt_text(sample)
    shown = build_messages(sample) if IMAGE_MARK in text else text  # where the images stand counts
    digest = hashlib.sha256(json.dumps([shown, list(sample.choices)]).encode())
    for part in pixel_parts(sample.images):
        digest.update(part)
    return digest.hexdigest()[:16]


def told_digest(sample: Sample) -> str:
    """16 hex digits of that, and of the answer and chain, which a teacher may repeat."""
    told = [sample_digest(sample), sample.answer, sample.cot]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


class EvaluationCache:
    """Actions by sample, kept in a folder. Raises ConfigError if it belongs to another ``key``.

    ``digest`` tells apart what the source may answer by.
    """

    def __init__(
        self,
        folder: str | Path,
        key: Mapping[str, Any],
        digest: Callable[[Sample], str] = sample_digest,
    ) -> None:
        self._folder, self._digest = Path(folder), digest
        self._folder.mkdir(parents=True, exist_ok=True)
        self._check_key(json.loads(json.dumps(key)))
        self._actions: dict[tuple[str, str], list[Action]] = {}
        self._part: Path | None = None
        for part in sorted(self._folder.glob("part-*.jsonl")):
            self._read(part)

    def get(self, sample: Sample) -> list[Action] | None:
        """The actions of a sample, None if there are none for exactly this question and image."""
        return self._actions.get((sample.id, self._digest(sample)))

    def put(self, sample: Sample, actions: Sequence[Action]) -> None:
        """Keep all actions of a sample; they are on disk when this returns."""
        digest = self._digest(sample)
        self._actions[sample.id, digest] = list(actions)
        rows = [action_row(action) for action in actions]
        row = {"sample_id": sample.id, "digest": digest, "actions": rows}
        line = json.dumps(row | {_SUM: _checksum(row)})
        self._part = self._part or self._new_part()
        with self._part.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _new_part(self) -> Path:
        """An empty part that no other process writes to."""
        found = [int(part.stem.removeprefix("part-")) for part in self._folder.glob("part-*.jsonl")]
        for number in itertools.count(max(found, default=-1) + 1):
            path = self._folder / f"part-{number:06d}.jsonl"
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                continue
            break
        return path

    def _check_key(self, key: dict[str, Any]) -> None:
        path = self._folder / "key.json"
        if not path.exists():
            write_text(path, json.dumps(key, indent=1, sort_keys=True))
            return
        found = read_json(path) or {}
        changed = sorted(n for n in {*key, *found} if key.get(n) != found.get(n))
        if changed:
            raise ConfigError(
                f"The evaluation cache {self._folder} was made with another "
                f"{', '.join(changed)}; choose another folder or delete it."
            )

    def _read(self, part: Path) -> None:
        *lines, _torn = part.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                if row.pop(_SUM, None) not in (None, _checksum(row)):  # None: an earlier version's
                    raise ValueError(_SUM)
                actions = [action_of(action) for action in row["actions"]]
                self._actions[row["sample_id"], row["digest"]] = actions
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise DataError(f"{part}, line {number}: damaged; delete this file.") from error


def _checksum(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]
