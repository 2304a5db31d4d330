"""The reasoning of a completion, cut into sentences, and what a checker says of its steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ekipl_lab.benchmarks.mini import MINI_TASKS, chains
from ekipl_lab.parsing import parse_completion
from ekipl_lab.types import Sample

#: Where reasoning is cut into sentences: after a full stop or semicolon, and at line ends.
_SENTENCE_END = re.compile(r"(?<=[.;])\s+|\n+")
_LOOSE_PUNCTUATION = re.compile(r"\s+([.,:;])")
#: Completions longer than this many characters are shown, not checked.
MAX_CHECKED = 20_000


@dataclass(frozen=True, slots=True)
class Check:
    """Steps held against the scene: how many are true, and the text of those that are not.

    ``unread`` are sentences that the checker could not read; ``supported`` says whether the
    answer follows from the stated steps, true or not.
    """

    num_true: int
    num_steps: int
    false_steps: tuple[str, ...]
    unread: tuple[str, ...]
    supported: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """A completion in parts; ``problem`` is what is wrong with its format, empty if nothing.

    ``check`` is None where no checker can tell.
    """

    sentences: tuple[str, ...]
    answer: str | None
    problem: str
    check: Check | None


def read_chain(sample: Sample, completion: str) -> Chain:
    """Cut a completion into its parts and check its steps where the sample brings a scene."""
    parsed = parse_completion(completion)
    check = check_steps(sample, completion) if parsed.format_ok else None
    return Chain(split_sentences(parsed.think or ""), parsed.answer, parsed.problem, check)


def split_sentences(reasoning: str) -> tuple[str, ...]:
    """Sentences and lines, with blanks before punctuation removed."""
    parts = (_LOOSE_PUNCTUATION.sub(r"\1", part.strip()) for part in _SENTENCE_END.split(reasoning))
    return tuple(part.removesuffix(".") for part in parts if part.strip(". "))


def check_steps(sample: Sample, completion: str) -> Check | None:
    """The checker's verdict; None for a benchmark or task without one, or a very long text."""
    known = sample.metadata.get("benchmark") == "mini" and sample.task in MINI_TASKS
    if not known or len(completion) > MAX_CHECKED:
        return None
    report = chains.check_chain(sample, completion)
    return Check(
        num_true=len(report.true_steps),
        num_steps=report.steps,
        false_steps=report.false_steps,
        unread=report.unread,
        supported=report.answer_supported,
    )
