"""The choices of a question: each behind its letter, unless the question lists them so itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: A letter names a choice.
MOST_CHOICES = 26


def choice_lines(question: str, choices: Sequence[str]) -> str:
    """The choices as lettered lines; empty if there are none, or the question lists them."""
    lettered = [(chr(ord("A") + at), choice) for at, choice in enumerate(without_letters(choices))]
    if not lettered or _lists(question, lettered):
        return ""
    return "".join(f"\n{letter}. {choice}" for letter, choice in lettered)


def without_letters(choices: Sequence[str]) -> tuple[str, ...]:
    """``5 cm`` for ``B. 5 cm``, where each choice brings its letter; else as they are."""
    bare = tuple(
        re.sub(rf"^\(?{chr(ord('A') + at)}[).:]\s*", "", choice)
        for at, choice in enumerate(choices)
    )
    return tuple(choices) if set(bare) & {"", *choices} else bare


def _lists(question: str, lettered: Sequence[tuple[str, str]]) -> bool:
    """Whether each choice stands whole and in order behind its letter: ``A. 30 B. 60``, ``(a) 30``.

    That a choice occurs somewhere says nothing: "2" is in "AB = 12".
    """
    entries = [
        rf"(?<!\w)(?i:{letter})[\s*]{{0,2}}[).:\]、][\s*]{{0,4}}?"
        + r"\s+".join(map(re.escape, choice.split()))
        + r"(?!\w|[.,:/]\d)"
        for letter, choice in lettered
    ]
    return re.search(".*?".join(entries), question, re.DOTALL) is not None
