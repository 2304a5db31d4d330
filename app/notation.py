"""How to read chains: the benchmark's own chain of the scene, twice.

Once in the notation of the chains that are shown and once in full sentences, both by the
benchmark's chain writer; for chains that flag every thing, the words of the question stand over the
flags.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from app.chains import split_sentences
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
from ekipl_lab.benchmarks.mini.counting.query import noun, query_from_json
from ekipl_lab.benchmarks.mini.grid import GRID
from ekipl_lab.parsing import parse_completion
from ekipl_lab.types import Sample

#: The style that says everything in words, and the one that flags every thing.
_WORDS, _FLAGS = "wordy", "walk"


@dataclass(frozen=True, slots=True)
class Notation:
    """A reference chain in ``short`` notation and in ``words``, sentence by sentence.

    ``headings`` stand over the columns of ``rows``: cell, what is there, then a flag for each
    predicate of the question; both empty where chains have no flags.
    """

    style: str
    short: tuple[str, ...]
    words: tuple[str, ...]
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def has_grid(sample: Sample) -> bool:
    """Whether the pictures have named cells: the benchmark's rules for them say so."""
    return _is_built_in(sample) and f"p{GRID * GRID}" in MINI_TASKS[sample.task].rules


def explain_notation(sample: Sample, completions: Iterable[str]) -> Notation | None:
    """How to read chains of a sample; None where the benchmark writes no chains."""
    if not _is_built_in(sample):
        return None
    written = {style: _sentences(sample, style) for style in CHAIN_STYLES}
    texts = [parse_completion(text[:2000]).think or "" for text in dict.fromkeys(completions)]
    style = _closest(written, [text.split() for text in dict.fromkeys(texts)][:4])
    short, words = written[style], written[_WORDS]
    if style != _FLAGS or "count" not in sample.metadata["query"]:
        return Notation(style, short, words)
    query = query_from_json(sample.metadata["query"])
    rows = [item.split() for item in short[0].split(", ")]
    flags = len(query.count)
    return Notation(
        style, short, words, ("cell", "what is there", *map(noun, query.count)),
        tuple(_row(item, flags) for item in rows if len(item) > 1),
    )  # fmt: skip


def _row(item: Sequence[str], flags: int) -> tuple[str, ...]:
    """Cell, look and flags of one thing; ``gone`` stands once, for all of them."""
    cell, *rest = item
    count = 1 if rest[-1] == "gone" else flags
    return (cell, " ".join(rest[:-count]), *rest[-count:], *[""] * (flags - count))


def _sentences(sample: Sample, style: str) -> tuple[str, ...]:
    text = write_chain(sample, style=style, rng=random.Random(0))
    return split_sentences(parse_completion(text).think or "")


def _closest(written: dict[str, tuple[str, ...]], chains: Sequence[Sequence[str]]) -> str:
    """The style whose chain of this scene is most like the chains that were given."""

    def likeness(style: str) -> float:
        words = " . ".join(written[style]).replace(":", " :").replace(",", " ,").split()
        matches = (SequenceMatcher(None, words, chain, autojunk=False) for chain in chains)
        return sum(matcher.ratio() for matcher in matches)

    return max(written, key=likeness)


def _is_built_in(sample: Sample) -> bool:
    return sample.metadata.get("benchmark") == "mini" and sample.task in MINI_TASKS
