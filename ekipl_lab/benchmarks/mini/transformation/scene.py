"""Scenes of the transformation task: solids on a 4 x 4 grid before and after some changes.

Cells are p1..p16 in raster order, as in the counting task; "behind" is up in the first picture,
"front" down. A move is one cell in one of eight directions. Things keep their number (their index)
and their jitter. The after picture may be taken from the left or the right (out of domain): then
the whole grid is turned, while directions stay those of the first picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from ekipl_lab.benchmarks.seeding import in_domain_split, scene_hash

GRID = 4
VALUES: Mapping[str, tuple[str, ...]] = {
    "size": ("small", "medium", "large"),
    "color": ("yellow", "gray", "cyan", "blue", "brown", "green", "red", "purple"),
    "material": ("glass", "metal", "rubber"),
    "shape": ("cube", "sphere", "cylinder"),
}
KINDS = tuple(VALUES)
KIND_OF = {value: kind for kind, values in VALUES.items() for value in values}
#: direction -> (rows down, columns right)
STEPS: Mapping[str, tuple[int, int]] = {
    "front": (1, 0),
    "behind": (-1, 0),
    "left": (0, -1),
    "right": (0, 1),
    "front_left": (1, -1),
    "front_right": (1, 1),
    "behind_left": (-1, -1),
    "behind_right": (-1, 1),
}
FUNCTIONS = ("size", "color", "material", "shape", "position")
VIEWS = ("same", "left", "right")


@dataclass(frozen=True, slots=True)
class Thing:
    """A solid at a cell (1..16), jittered by whole units (1/56 of the image side)."""

    cell: int
    size: str
    color: str
    material: str
    shape: str
    dx: int = 0
    dy: int = 0

    @property
    def words(self) -> str:
        """``small red rubber cube``."""
        return f"{self.size} {self.color} {self.material} {self.shape}"


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """One change: ``change_<function>(<thing>, <value>)``."""

    thing: int
    function: str
    value: str

    def __str__(self) -> str:
        return f"change_{self.function}({self.thing}, {self.value})"


@dataclass(frozen=True, slots=True)
class Pair:
    """Things before and after (same numbers), the view of the second picture, the background."""

    before: tuple[Thing, ...]
    after: tuple[Thing, ...]
    view: str = "same"
    background: int = 0


def call_order(call: Call) -> tuple[int, int]:
    """Calls are answered by thing, then in the order of FUNCTIONS."""
    return call.thing, FUNCTIONS.index(call.function)


def moved(cell: int, direction: str) -> int | None:
    """The cell one step on, None outside the grid."""
    row, column = divmod(cell - 1, GRID)
    down, right = STEPS[direction]
    row, column = row + down, column + right
    return row * GRID + column + 1 if 0 <= row < GRID and 0 <= column < GRID else None


def direction(start: int, end: int) -> str | None:
    """The direction of a one-cell move, "" for none, None where there is no such step."""
    if start == end:
        return ""
    return next((name for name in STEPS if moved(start, name) == end), None)


def applied(before: Sequence[Thing], calls: Sequence[Call]) -> tuple[Thing, ...] | None:
    """The things after the calls; None if one leaves the grid or two share a cell."""
    things = list(before)
    for call in calls:
        thing = things[call.thing]
        if call.function == "position":
            cell = moved(thing.cell, call.value)
            if cell is None:
                return None
            things[call.thing] = replace(thing, cell=cell)
        else:
            looks = {kind: getattr(thing, kind) for kind in KINDS} | {call.function: call.value}
            things[call.thing] = Thing(thing.cell, dx=thing.dx, dy=thing.dy, **looks)
    cells = {thing.cell for thing in things}
    return tuple(things) if len(cells) == len(things) else None


def changes(number: int, before: Thing, after: Thing) -> list[Call] | None:
    """The calls that turn one thing into another; None if no single step explains its move."""
    calls = [
        Call(number, kind, getattr(after, kind))
        for kind in KINDS
        if getattr(before, kind) != getattr(after, kind)
    ]
    step = direction(before.cell, after.cell)
    if step is None:
        return None
    return [*calls, Call(number, "position", step)] if step else calls


def calls_of(pair: Pair) -> tuple[Call, ...]:
    """All calls of a pair, in answer order."""
    found: list[Call] = []
    for number, (before, after) in enumerate(zip(pair.before, pair.after, strict=True)):
        found.extend(changes(number, before, after) or [])
    return tuple(sorted(found, key=call_order))


def answer_text(calls: Sequence[Call]) -> str:
    """The canonical answer: ``change_size(0, large), change_position(1, left)``."""
    return ", ".join(str(call) for call in sorted(calls, key=call_order))


def is_unambiguous(before: Sequence[Thing], after: Sequence[Thing]) -> bool:
    """Whether the true pairing of things needs fewer calls than every other pairing.

    Without it a picture would not tell a thing that moved from two that changed.
    """
    table = [[changes(0, one, two) for two in after] for one in before]
    own = range(len(before))
    truth = sum(len(table[place][place] or []) for place in own)
    for order in permutations(own):
        if order == tuple(own):
            continue
        cells = [table[place][other] for place, other in zip(own, order, strict=True)]
        possible = all(cell is not None for cell in cells)
        if possible and sum(len(cell or []) for cell in cells) <= truth:
            return False
    return True


def seen_from(view: str, thing: Thing) -> Thing:
    """The thing where a picture taken from the side shows it.

    From the left, the left edge of the first picture is in front and its back edge at the left.
    """
    row, column = divmod(thing.cell - 1, GRID)
    if view == "left":
        row, column, dx, dy = GRID - 1 - column, row, thing.dy, -thing.dx
    elif view == "right":
        row, column, dx, dy = column, GRID - 1 - row, -thing.dy, thing.dx
    else:
        return thing
    return replace(thing, cell=row * GRID + column + 1, dx=dx, dy=dy)


def shown_after(pair: Pair) -> tuple[Thing, ...]:
    """The things as the second picture shows them, by number."""
    return tuple(seen_from(pair.view, thing) for thing in pair.after)


def canonical(pair: Pair) -> str:
    """The text that is hashed: both states and the view, without jitter and background."""
    states = ["|".join(f"{t.cell} {t.words}" for t in state) for state in (pair.before, pair.after)]
    return "transformation|" + "||".join([*states, pair.view])


def split_of(pair: Pair) -> str:
    """The one split that this pair can be in."""
    return "test_ood" if pair.view != "same" else in_domain_split(scene_hash(canonical(pair)))


def pair_to_json(pair: Pair) -> dict[str, Any]:
    """The pair as JSON values, kept in ``Sample.metadata["scene"]``."""

    def state(things: Sequence[Thing]) -> list[dict[str, Any]]:
        names = ("cell", *KINDS, "dx", "dy")
        return [{name: getattr(thing, name) for name in names} for thing in things]

    return {
        "before": state(pair.before),
        "after": state(pair.after),
        "view": pair.view,
        "background": pair.background,
    }


def pair_from_json(data: Mapping[str, Any]) -> Pair:
    """The inverse of ``pair_to_json``."""
    before, after = (tuple(Thing(**item) for item in data[name]) for name in ("before", "after"))
    return Pair(before, after, data["view"], data["background"])


def pair_labels(pair: Pair) -> npt.NDArray[np.int64]:
    """Dense labels for vision supervision, shape (2, 16, 4): size, color, material, shape per cell.

    Row 0 is the first picture, row 1 the second as it is shown; an empty cell is -1.
    """
    labels = np.full((2, GRID * GRID, len(KINDS)), -1, dtype=np.int64)
    for number, things in enumerate((pair.before, shown_after(pair))):
        for thing in things:
            row = [VALUES[kind].index(getattr(thing, kind)) for kind in KINDS]
            labels[number, thing.cell - 1] = row
    return labels
