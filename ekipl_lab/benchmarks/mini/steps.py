"""The steps of a chain: how they are put together, read sentence by sentence, and reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

#: Styles of reference chains, the same names for every task; ``short`` is what tiny policies learn.
CHAIN_STYLES = ("short", "facts", "walk", "caption", "wordy")
FAULTS = ("none", "wrong_answer", "wrong_chain")
#: All that the chain of a sub-skill says where it has no steps.
LOOK = "look ."


@dataclass(frozen=True, slots=True)
class ChainReport:
    """A chain checked step by step against the scene.

    ``true_steps`` and ``false_steps`` hold the text of every step that could be read;
    ``unread`` the sentences that could not. ``answer_supported``: the stated steps lead to the
    stated answer, whether or not they are true. ``answer_correct``: the answer is the sample's.
    ``false_in`` and ``unread_in`` number the sentences (``sentence_texts``, from 0) in which those
    stand; None, or nothing, where the chain is not read sentence by sentence.
    """

    true_steps: tuple[str, ...]
    false_steps: tuple[str, ...]
    unread: tuple[str, ...]
    answer: str | None
    answer_supported: bool
    answer_correct: bool
    false_in: tuple[int | None, ...] = ()
    unread_in: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        """Number of steps that could be read."""
        return len(self.true_steps) + len(self.false_steps)

    @property
    def sound(self) -> bool:
        """At least one step, every step read and true, and the answer follows from them.

        True steps lead to no wrong answer: where one seems to follow, the steps are not its reason.
        """
        clean = not self.false_steps and not self.unread
        return self.steps > 0 and clean and self.answer_supported and self.answer_correct


class Unread(Exception):
    """A sentence that is not in the grammar of its task."""


@dataclass
class Steps:
    """Steps read so far, with whether each holds, and sentences that could not be read."""

    noted: list[tuple[str, bool]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    places: list[int | None] = field(default_factory=list)
    unread_in: list[int] = field(default_factory=list)
    sentence: int | None = None

    def note(self, holds: bool, text: str) -> None:
        """One step more."""
        self.noted.append((text, holds))
        self.places.append(self.sentence)

    def read(
        self, reasoning: str, read_sentence: Callable[[str], None], signs: str = ".,:="
    ) -> None:
        """Reads every sentence (ended by " . "), in lower case, with blanks around ``signs``.

        ``read_sentence`` notes the steps of one, and raises Unread where it is not in the grammar.
        """
        spaced = re.sub(f"([{signs}])", r" \1 ", reasoning.lower())
        for number, sentence in enumerate(re.split(r"\s\.(?:\s|$)", spaced)):
            self.sentence = number
            try:
                read_sentence(sentence)
            except Unread:
                self.unread.append(" ".join(sentence.split()))
                self.unread_in.append(number)
        self.sentence = None

    def report(self, answer: str, *, supported: bool, correct: bool) -> ChainReport:
        """What is known at the end of the chain."""
        true, false = (
            tuple(text for text, holds in self.noted if holds is kind) for kind in (True, False)
        )
        places = self.places or [None] * len(self.noted)
        false_in = [p for p, (_, holds) in zip(places, self.noted, strict=True) if not holds]
        return ChainReport(
            true, false, tuple(self.unread), answer, supported, correct,
            tuple(false_in), tuple(self.unread_in),
        )  # fmt: skip


def sentence_texts(reasoning: str) -> list[str]:
    """The sentences of a chain as written, empty ones too, in the numbering of a report."""
    return reasoning.split(".")


def sentences(parts: Sequence[str]) -> str:
    """``one . two .``"""
    return " . ".join(parts) + " ."
