"""The reasoning of a completion as steps, with what a checker says of each where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ekipl_lab.benchmarks.mini import MINI_TASKS, chains
from ekipl_lab.benchmarks.mini.steps import ChainReport, sentence_texts
from ekipl_lab.parsing import parse_completion
from ekipl_lab.types import Sample

#: Where reasoning is cut into sentences: after a full stop or semicolon, and at line ends.
_SENTENCE_END = re.compile(r"(?<=[.;])\s+|\n+")
_LOOSE_PUNCTUATION = re.compile(r"\s+([.,:;])")
_TOKEN = re.compile(r"\w+|[^\w\s]")
#: Completions longer than this many characters are shown, not checked.
MAX_CHECKED = 20_000

#: How a checker's step that a list holds everything ends.
_COMPLETE = " complete"

#: Places in a text: first character, and the one after the last.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """One sentence of a chain; ``verdict`` is ``true``, ``false``, ``unread``, or empty: unchecked.

    ``false`` are the parts of the text that do not hold; ``notes`` say what is false beside them,
    such as a list that is not complete.
    """

    text: str
    verdict: str = ""
    false: tuple[Span, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """What is wrong with a false step, in words; a list that lacks something says so."""
        gaps = [note for note in self.notes if note.endswith(_COMPLETE)]
        untrue = [note for note in self.notes if note not in gaps]
        said = [": ".join(filter(None, ("not true", "; ".join(untrue))))]
        said = said if untrue or self.false else []
        return "; ".join([*said, *(f"{gap.removesuffix(_COMPLETE)} not complete" for gap in gaps)])


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a step's text, in which nothing changes: false or not, different or not."""

    text: str
    false: bool
    different: bool


def split_sentences(reasoning: str) -> tuple[str, ...]:
    """Sentences and lines, with blanks before punctuation removed."""
    parts = (_tidy(part) for part in _SENTENCE_END.split(reasoning))
    return tuple(part.removesuffix(".") for part in parts if part.strip(". "))


def check_steps(sample: Sample, completion: str) -> ChainReport | None:
    """The checker's verdict on a completion of the asked form.

    None for a benchmark or task without a checker, another form, or a very long text.
    """
    known = sample.metadata.get("benchmark") == "mini" and sample.task in MINI_TASKS
    if not known or len(completion) > MAX_CHECKED or not parse_completion(completion).format_ok:
        return None
    return chains.check_chain(sample, completion)


def read_steps(reasoning: str, check: ChainReport | None) -> tuple[Step, ...]:
    """The steps of a chain; with a checker's report, each false one marked where it stands."""
    if check is None:
        return tuple(Step(text) for text in split_sentences(reasoning))
    texts = [_tidy(text) for text in sentence_texts(reasoning)]
    shown = [number for number, text in enumerate(texts) if text]
    wrong: dict[int, list[str]] = {number: [] for number in shown}
    for place, step in zip(check.false_in, check.false_steps, strict=True):
        if shown:
            wrong[place if place in wrong else _standing(texts, shown, step)].append(step)
    unread = shown if check.unread and not check.unread_in else check.unread_in
    return tuple(
        _step(texts[number], wrong[number], number in unread, checked=check.steps > 0)
        for number in shown
    )


def pieces(step: Step, different: Sequence[Span] = ()) -> list[Piece]:
    """The text of a step cut where a false or a different part begins or ends."""
    cuts = {0, len(step.text), *(cut for span in (*step.false, *different) for cut in span)}
    edges = sorted(cuts)
    return [
        Piece(step.text[start:end], _inside(start, step.false), _inside(start, different))
        for start, end in pairwise(edges)
    ]


def tokens(text: str) -> list[tuple[str, Span]]:
    """Words and signs in lower case, with their places."""
    return [(match[0].lower(), match.span()) for match in _TOKEN.finditer(text)]


def _tidy(text: str) -> str:
    return _LOOSE_PUNCTUATION.sub(r"\1", " ".join(text.split()))


def _inside(place: int, spans: Iterable[Span]) -> bool:
    return any(start <= place < end for start, end in spans)


def _standing(texts: Sequence[str], shown: Sequence[int], step: str) -> int:
    """The last sentence that says a step; the last one of all where none does."""
    return next((n for n in reversed(shown) if _find(texts[n], step, [])), shown[-1])


def _step(text: str, wrong: Sequence[str], unread: bool, *, checked: bool) -> Step:
    false: list[Span] = []
    notes = []
    for said in wrong:
        span = _find(text, said, false)
        if span is None:
            notes.append(said)
        else:
            false.append(span)
    verdict = "unread" if unread else "true" if checked else ""
    return Step(text, "false" if wrong else verdict, tuple(sorted(false)), tuple(notes))


def _find(text: str, step: str, taken: Sequence[Span]) -> Span | None:
    """Where a step stands in its sentence: the most of its last words, at their last place.

    A checker names a step by its list and then its words (``red ball p7``), of which the sentence
    repeats the words alone. One word by itself must be a cell or a number.
    """
    said, wanted = tokens(text), [word for word, _ in tokens(step)]
    words = [word for word, _ in said]
    for begin in range(len(wanted)):
        part = wanted[begin:]
        if len(part) == 1 and begin and not any(char.isdigit() for char in part[0]):
            return None
        for at in range(len(words) - len(part), -1, -1):
            span = (said[at][1][0], said[at + len(part) - 1][1][1])
            if words[at : at + len(part)] == part and span not in taken:
                return span
    return None
