"""The reasoning of a completion, cut into sentences, and what a checker says of its steps."""

from __future__ import annotations

import re

from ekipl_lab.benchmarks.mini import MINI_TASKS, chains
from ekipl_lab.benchmarks.mini.steps import ChainReport
from ekipl_lab.parsing import parse_completion
from ekipl_lab.types import Sample

#: Where reasoning is cut into sentences: after a full stop or semicolon, and at line ends.
_SENTENCE_END = re.compile(r"(?<=[.;])\s+|\n+")
_LOOSE_PUNCTUATION = re.compile(r"\s+([.,:;])")
#: Completions longer than this many characters are shown, not checked.
MAX_CHECKED = 20_000


def split_sentences(reasoning: str) -> tuple[str, ...]:
    """Sentences and lines, with blanks before punctuation removed."""
    parts = (_LOOSE_PUNCTUATION.sub(r"\1", part.strip()) for part in _SENTENCE_END.split(reasoning))
    return tuple(part.removesuffix(".") for part in parts if part.strip(". "))


def check_steps(sample: Sample, completion: str) -> ChainReport | None:
    """The checker's verdict on a completion of the asked form.

    None for a benchmark or task without a checker, another form, or a very long text.
    """
    known = sample.metadata.get("benchmark") == "mini" and sample.task in MINI_TASKS
    if not known or len(completion) > MAX_CHECKED or not parse_completion(completion).format_ok:
        return None
    return chains.check_chain(sample, completion)
