"""Chains side by side: which steps answer each other, and in which words they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from app.chains import Span, Step, tokens

#: Chains of more steps than this are laid side by side step by step, without looking for a match.
MAX_ALIGNED = 200


@dataclass(frozen=True, slots=True)
class Cell:
    """A step in its row; ``different`` are its parts that the first column does not say there."""

    step: Step
    different: tuple[Span, ...] = ()


Row = tuple[Cell | None, ...]


def align(columns: Sequence[Sequence[Step]]) -> list[Row]:
    """Rows of one cell per column; None where a column says nothing that answers the others.

    The first column is what the others are compared with. Steps that it does not have stand in rows
    of their own, those of several columns together.
    """
    if not columns:
        return []
    first = columns[0]
    placed = [_placed(first, other) for other in columns[1:]]
    rows: list[Row] = []
    for place in range(len(first) + 1):
        rows += _extra([answers[1][place] for answers in placed])
        if place < len(first):
            others = [_against(first[place], answers[0].get(place)) for answers in placed]
            rows.append((Cell(first[place]), *others))
    return rows


def differing(text: str, other: str) -> tuple[Span, ...]:
    """Places in ``text`` whose words ``other`` does not have there; neighbours joined."""
    mine, theirs = tokens(text), tokens(other)
    matcher = SequenceMatcher(
        None, [word for word, _ in mine], [word for word, _ in theirs], autojunk=False
    )
    return tuple(
        (mine[start][1][0], mine[end - 1][1][1])
        for kind, start, end, *_ in matcher.get_opcodes()
        if kind != "equal" and end > start
    )


def _placed(
    first: Sequence[Step], other: Sequence[Step]
) -> tuple[dict[int, Step], list[list[Step]]]:
    """Place in the first column -> the step that answers it; and the steps before each place."""
    answers: dict[int, Step] = {}
    extra: list[list[Step]] = [[] for _ in range(len(first) + 1)]
    for start, end, begin, stop in _blocks(first, other):
        both = min(end - start, stop - begin)
        answers |= {start + i: other[begin + i] for i in range(both)}
        extra[start + both] += other[begin + both : stop]
    return answers, extra


def _blocks(first: Sequence[Step], other: Sequence[Step]) -> list[tuple[int, int, int, int]]:
    """Stretches of both that belong together, equal or not."""
    if max(len(first), len(other)) > MAX_ALIGNED:
        return [(0, len(first), 0, len(other))]
    matcher = SequenceMatcher(
        None, [s.text.lower() for s in first], [s.text.lower() for s in other], autojunk=False
    )
    return [tuple(code[1:]) for code in matcher.get_opcodes()]  # type: ignore[misc]


def _against(first: Step, answer: Step | None) -> Cell | None:
    return None if answer is None else Cell(answer, differing(answer.text, first.text))


def _extra(columns: Sequence[Sequence[Step]]) -> list[Row]:
    """Rows of steps that the first column lacks: new in every part."""
    depth = max((len(steps) for steps in columns), default=0)
    return [(None, *(_new(steps, row) for steps in columns)) for row in range(depth)]


def _new(steps: Sequence[Step], row: int) -> Cell | None:
    return Cell(steps[row], ((0, len(steps[row].text)),)) if row < len(steps) else None
