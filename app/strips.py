"""Where a recorded group stands in its run: a bar for every step, a square for every group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from app.marks import GroupMark

#: The most bars of a strip; a longer run has several steps in one.
MAX_BARS = 120


@dataclass(frozen=True, slots=True)
class Bar:
    """Some steps: how many of their groups had no spread; ``query`` leads to the first of them."""

    first: int
    last: int
    groups: int
    zero: int
    query: str
    here: bool

    @property
    def text(self) -> str:
        """The bar in words."""
        steps = f"step {self.first}"
        if self.last > self.first:
            steps = f"steps {self.first} to {self.last}"
        return f"{steps}: {self.zero} of {self.groups} groups without spread"


@dataclass(frozen=True, slots=True)
class Square:
    """One group of the step; ``number`` counts from 1; ``found`` by the search."""

    number: int
    mark: GroupMark
    query: str
    here: bool
    found: bool

    @property
    def text(self) -> str:
        """The square in words."""
        spread = "no spread" if self.mark.zero else "spread"
        teacher = ", a teacher's action kept" if self.mark.teacher else ""
        taught = " where the policy failed" if self.mark.taught else ""
        return f"group {self.number}: {spread}{teacher}{taught}"


@dataclass(frozen=True, slots=True)
class Place:
    """``index`` is that of the step among the recorded ones, of which there are ``steps``;
    ``search`` says what was found."""

    step: int
    index: int
    steps: int
    bars: tuple[Bar, ...]
    squares: tuple[Square, ...]
    is_first: bool
    is_last: bool
    search: str

    @property
    def text(self) -> str:
        """Where we are, in one line."""
        number = next(square.number for square in self.squares if square.here)
        end = " The last recorded group." if self.is_last else ""
        end = " The first recorded group." if self.is_first else end
        return f"Step {self.step}, group {number} of {len(self.squares)}.{end}"


def place_of(
    marks: Sequence[GroupMark],
    found: Collection[tuple[int, int]],
    state: Any,
    address: Callable[[Any, int, int], str],
    wanted: str = "",
) -> Place:
    """The place of ``state``: its step and group.

    ``found`` are the (step, group) that are ``wanted`` (in words; empty: every group); links are
    ``address(state, step, group)``.
    """
    found = set(found)
    steps = [(step, list(own)) for step, own in groupby(marks, key=lambda mark: mark.step)]
    index = next(i for i, (step, _) in enumerate(steps) if step == state.step)
    width = -(-len(steps) // MAX_BARS)
    bars = []
    for start in range(0, len(steps), width):
        part = steps[start : start + width]
        inside = [mark for _, own in part for mark in own]
        first = part[0][0]
        bars.append(
            Bar(
                first,
                part[-1][0],
                len(inside),
                sum(mark.zero for mark in inside),
                address(state, first, 0),
                start <= index < start + width,
            )
        )
    squares = tuple(
        Square(
            i + 1,
            mark,
            address(state, mark.step, mark.group),
            mark.group == state.group,
            bool(wanted) and (mark.step, mark.group) in found,
        )
        for i, mark in enumerate(steps[index][1])
    )
    here = (state.step, state.group)
    ends = [(mark.step, mark.group) == here for mark in (marks[0], marks[-1])]
    search = ""
    if wanted:
        count = "1 group" if len(found) == 1 else f"{len(found)} groups"
        search = f"{count}: {wanted}; Previous and Next go through those."
    return Place(state.step, index, len(steps), tuple(bars), squares, ends[0], ends[1], search)
