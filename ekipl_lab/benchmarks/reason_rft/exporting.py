"""Training files in the published forms: ANS-SFT and CoT-SFT (ShareGPT messages) and RL.

An entry of the first two has ``id``, ``image`` and two ``messages``: the prompt with ``<image>``
marks and the question, then the answer, alone or after the chain in tags. The RL form has ``id``,
``image``, ``problem`` and ``solution``. Image paths are relative to the data set's folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.reason_rft.reading import Record
from ekipl_lab.errors import DataError, unknown_name
from ekipl_lab.files import write_text

Entry = dict[str, Any]


def ans_sft(record: Record, prompt: str, root: Path) -> Entry:
    """Question -> answer."""
    return _messages(record, prompt, record.answer, root)


def cot_sft(record: Record, prompt: str, root: Path) -> Entry:
    """Question -> chain and answer in tags; DataError for a record without a chain."""
    if not record.cot:
        raise DataError(f"{record.file.path}, record {record.index}: there is no chain to learn.")
    cot = record.cot.replace("<think>", "").replace("</think>", "").strip()
    text = f"<think>\n{cot}\n</think>\n<answer>\n{record.answer}\n</answer>"
    return _messages(record, prompt, text, root)


def reinforcement(record: Record, prompt: str, root: Path) -> Entry:
    """Question and solution; the prompt is added by the trainer."""
    return _head(record, root) | {"problem": record.problem, "solution": record.answer}


FORMS: dict[str, Callable[[Record, str, Path], Entry]] = {
    "ans_sft": ans_sft,
    "cot_sft": cot_sft,
    "rl": reinforcement,
}


def export(
    records: Iterable[Record], form: str, path: Path, *, root: Path, prompt: str = ""
) -> int:
    """Write records in a form of ``FORMS`` to a JSON file, atomically; returns how many."""
    if form not in FORMS:
        raise unknown_name("export form", form, FORMS)
    entries = [FORMS[form](record, prompt, root) for record in records]
    write_text(path, json.dumps(entries, ensure_ascii=False, indent=1))
    return len(entries)


def _messages(record: Record, prompt: str, reply: str, root: Path) -> Entry:
    marks = "<image>" * len(record.images)
    question = "\n".join(part for part in (prompt, marks + record.problem) if part)
    turns = [{"content": question, "role": "user"}, {"content": reply, "role": "assistant"}]
    return _head(record, root) | {"messages": turns}


def _head(record: Record, root: Path) -> Entry:
    paths = [path.relative_to(root.resolve()).as_posix() for path in record.images]
    return {"id": record.id, "image": paths[0] if len(paths) == 1 else paths}
