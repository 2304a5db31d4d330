"""Draws things, then changes, until the pictures tell the changes without ambiguity."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ekipl_lab.benchmarks.mini.grid import CELLS, JITTER
from ekipl_lab.benchmarks.mini.transformation.scene import (
    FUNCTIONS,
    KINDS,
    STEPS,
    VALUES,
    Call,
    Pair,
    Thing,
    applied,
    is_unambiguous,
    split_of,
)


def _things(rng: random.Random, count: int) -> tuple[Thing, ...]:
    """Things of different colors, numbered in raster order."""
    cells = sorted(rng.sample(CELLS, count))
    colors = rng.sample(VALUES["color"], count)
    return tuple(
        Thing(
            cell,
            rng.choice(VALUES["size"]),
            color,
            rng.choice(VALUES["material"]),
            rng.choice(VALUES["shape"]),
            rng.randint(-JITTER, JITTER),
            rng.randint(-JITTER, JITTER),
        )
        for cell, color in zip(cells, colors, strict=True)
    )


def random_call(rng: random.Random, things: Sequence[Thing], functions: Sequence[str]) -> Call:
    """A change of a random thing to another value, or one step in a random direction."""
    number = rng.randrange(len(things))
    function = rng.choice(list(functions))
    if function == "position":
        return Call(number, function, rng.choice(list(STEPS)))
    now = getattr(things[number], function)
    return Call(number, function, rng.choice([value for value in VALUES[function] if value != now]))


#: Family whose answers are calls -> how many changes there may be, and of what.
CHANGES: dict[str, tuple[tuple[int, ...], Sequence[str]]] = {
    "change_look": ((1,), KINDS),
    "change_place": ((1, 2), ("position",)),
    "change_two": ((2,), FUNCTIONS),
    "change_many": ((3, 4), FUNCTIONS),
    "change_five": ((5,), FUNCTIONS),
    "change_looks": ((3, 4), KINDS),
    "change_undo": ((1,), FUNCTIONS),  # asked for what takes it back
}


def _calls(rng: random.Random, family: str, things: Sequence[Thing]) -> list[Call]:
    """As many calls as the family has, no function twice on a thing."""
    numbers, functions = CHANGES[family]
    wanted = 1 if family == "change_look" else rng.choice(numbers)  # frozen: no draw for a look
    found: dict[tuple[int, str], Call] = {}
    while len(found) < wanted:
        call = random_call(rng, things, functions)
        found.setdefault((call.thing, call.function), call)
    return list(found.values())


def draw_pair(rng: random.Random, family: str, count: int, split: str, view: str) -> Pair:
    """A pair of ``count`` things that belongs to the split, its changes beyond doubt."""
    while True:
        before = _things(rng, count)
        for _ in range(12):
            after = applied(before, _calls(rng, family, before))
            if after is None or not is_unambiguous(before, after):
                continue
            pair = Pair(before, after, view, rng.randrange(4))
            if split_of(pair) == split:
                return pair
