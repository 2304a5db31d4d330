"""Scenes of the transformation task: solids on a 4 x 4 grid before and after some changes.

"behind" is up in the first picture, "front" down. A move is one cell in one of eight directions.
Things keep their number (their index) and their jitter. Out of domain the second picture is taken
from the left or the right: the whole grid is turned, and directions stay those of the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ekipl_lab.benchmarks.mini import grid, solids
from ekipl_lab.benchmarks.mini.grid import GRID
from ekipl_lab.benchmarks.seeding import in_domain_split, scene_hash

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
FUNCTIONS = (*KINDS, "position")
_OPPOSITE = {
    name: next(other for other, step in STEPS.items() if step == (-down, -right))
    for name, (down, right) in STEPS.items()
}


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
    def values(self) -> tuple[str, str, str, str]:
        """The four attribute values in the order of KINDS."""
        return (self.size, self.color, self.material, self.shape)

    @property
    def words(self) -> str:
        """``small red rubber cube``."""
        return " ".join(self.values)


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
            changed: dict[str, Any] = {call.function: call.value}
            things[call.thing] = replace(thing, **changed)
    cells = {thing.cell for thing in things}
    return tuple(things) if len(cells) == len(things) else None


def changes(number: int, before: Thing, after: Thing) -> list[Call] | None:
    """The calls that turn one thing into another; None if no single step explains its move."""
    calls = [
        Call(number, kind, new)
        for kind, old, new in zip(KINDS, before.values, after.values, strict=True)
        if old != new
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


def undone(before: Sequence[Thing], calls: Iterable[Call]) -> set[Call]:
    """The calls that take ``calls`` back: the old value, or the opposite step."""
    return {
        replace(call, value=_OPPOSITE[call.value])
        if call.function == "position"
        else replace(call, value=getattr(before[call.thing], call.function))
        for call in calls
    }


def answer_text(calls: Iterable[Call]) -> str:
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
    before, after = (
        [{name: getattr(thing, name) for name in Thing.__slots__} for thing in things]
        for things in (pair.before, pair.after)
    )
    return {"before": before, "after": after, "view": pair.view, "background": pair.background}


def pair_from_json(data: Mapping[str, Any]) -> Pair:
    """The inverse of ``pair_to_json``."""
    before, after = (tuple(Thing(**item) for item in data[name]) for name in ("before", "after"))
    return Pair(before, after, data["view"], data["background"])


def pair_labels(pair: Pair) -> npt.NDArray[np.int64]:
    """Labels of both pictures as they are shown, shape (2, 16, 4): size, color, material, shape."""
    return np.stack(
        [
            grid.labels(((thing.cell, thing.values) for thing in things), VALUES)
            for things in (pair.before, shown_after(pair))
        ]
    )


_COLORS = solids.COLOURS | {
    "yellow": (246, 208, 30),
    "gray": (122, 124, 128),
    "brown": (128, 74, 32),
}
_SCALE = {"small": 0.52, "medium": 0.76, "large": 1.0}
_FINISH = {"rubber": "flat", "metal": "gloss", "glass": "clear"}
_BACKDROPS: tuple[grid.Backdrop, ...] = (
    ((236, 236, 236), (220, 220, 220), 0),
    ((242, 240, 234), (224, 222, 216), 0),
    ((230, 234, 240), (212, 216, 224), 0),
    ((250, 250, 250), (234, 234, 234), 0),
)


def render(pair: Pair, size: int) -> tuple[Image.Image, ...]:
    """The two RGB pictures, ``size`` x ``size`` pixels each."""
    return tuple(
        grid.picture(
            _BACKDROPS[pair.background],
            ((thing, _solid(thing)) for thing in sorted(things, key=lambda thing: thing.cell)),
            size,
        )
        for things in (pair.before, shown_after(pair))
    )


def _solid(thing: Thing) -> grid.Solid:
    return thing.shape, _COLORS[thing.color], _SCALE[thing.size], _FINISH[thing.material]
