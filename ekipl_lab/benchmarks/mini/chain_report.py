"""What a chain checker returns, and how completions are taken apart and put together."""

from __future__ import annotations

from dataclasses import dataclass

from ekipl_lab.parsing import parse_completion

#: Styles of reference chains, the same names for every task; ``short`` is what tiny policies learn.
CHAIN_STYLES = ("short", "facts", "walk", "caption", "wordy")
FAULTS = ("none", "wrong_answer", "wrong_chain")


@dataclass(frozen=True, slots=True)
class ChainReport:
    """A chain checked step by step against the scene.

    ``true_steps`` and ``false_steps`` hold the text of every step that could be read;
    ``unread`` the sentences that could not. ``answer_supported``: the stated steps lead to the
    stated answer, whether or not they are true. ``answer_correct``: the answer is the sample's.
    """

    true_steps: tuple[str, ...]
    false_steps: tuple[str, ...]
    unread: tuple[str, ...]
    answer: str | None
    answer_supported: bool
    answer_correct: bool

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


def completion(think: str, answer: str) -> str:
    """A whole completion; the think part is padded with single blanks."""
    return f"<think> {think} </think><answer>{answer}</answer>"


def split_completion(text: str) -> tuple[str, str] | None:
    """(think, answer), stripped; None where either is missing or ambiguous."""
    parsed = parse_completion(text)
    if parsed.think is None or parsed.answer is None:
        return None
    return parsed.think, parsed.answer


def unreadable(text: str) -> ChainReport:
    """The report on a completion that is not ``<think>...</think><answer>...</answer>``."""
    return ChainReport((), (), (text,), None, False, False)
