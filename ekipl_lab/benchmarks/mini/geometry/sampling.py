"""Draws the numbers of a figure (the answer first), then its layout, until the split fits
and every label is free: on no line, inside the image, apart from the others.

Levels: 1 angles that are multiples of 10, one-digit sides, small triples; 2 multiples of 5, three
sectors, sides to 20; 3 any whole degrees, area and perimeter of right triangles, large triples.
Held out for "other values": angles and sides that end in 3 or 7, and four primitive triples.
"""

from __future__ import annotations

import random
from dataclasses import replace

from ekipl_lab.benchmarks.mini.geometry.figure import (
    OOD_KINDS,
    Figure,
    Numbers,
    canonical,
    draw_figure,
    labels_apart,
)
from ekipl_lab.benchmarks.mini.geometry.plans import ANGLE_ASKED, total_of
from ekipl_lab.benchmarks.mini.task import Draw
from ekipl_lab.benchmarks.seeding import in_domain_split, scene_hash

_TRIPLES = {
    1: (
        *((3, 4, 5), (6, 8, 10), (5, 12, 13), (9, 12, 15), (8, 15, 17), (12, 16, 20)),
        *((10, 24, 26), (15, 20, 25)),
    ),
    2: (
        *((18, 24, 30), (16, 30, 34), (21, 28, 35), (15, 36, 39), (24, 32, 40), (27, 36, 45)),
        *((30, 40, 50), (24, 45, 51), (20, 48, 52), (33, 44, 55)),
    ),
    3: (
        *((36, 48, 60), (25, 60, 65), (40, 42, 58), (39, 52, 65), (33, 56, 65), (16, 63, 65)),
        *((28, 45, 53), (32, 60, 68), (42, 56, 70), (48, 55, 73), (30, 72, 78), (13, 84, 85)),
        *((36, 77, 85), (51, 68, 85), (45, 60, 75), (48, 64, 80)),
    ),
}
_HELD_OUT_TRIPLES = ((7, 24, 25), (20, 21, 29), (12, 35, 37), (9, 40, 41), (14, 48, 50))
_STEP = {1: 10, 2: 5, 3: 1}
#: Families that go on from angle x -> what they ask.
FROM_ANGLE = {"angle_twice": "twice", "angle_half": "half"}


def held_out(value: int) -> bool:
    """Whether an angle or side is kept for the out-of-domain test."""
    return value % 10 in (3, 7)


def draw_numbers(rng: random.Random, family: str, level: int, shift: str) -> Numbers:
    """The numbers of a question of the family."""
    if family == "pythagoras":
        return _triple(rng, level, shift)
    if family == "area":
        return _sizes(rng, level, shift)
    if family == "pythagoras_area":
        return _leg_area(rng, level, shift)
    if family in FROM_ANGLE:
        return _from_angle(rng, FROM_ANGLE[family], level, shift)
    kind = {"triangle": "quadrilateral", "line": "point"}[family] if shift == "figure" else family
    return _angles(rng, kind, level, shift)


def _angles(rng: random.Random, kind: str, level: int, shift: str) -> Numbers:
    """Parts of 180 or 360 degrees; the unknown is drawn first, in steps of 10, 5 or 1."""
    total = total_of(kind)
    parts = {"triangle": 3, "quadrilateral": 4, "point": 3}.get(kind, 2 if level == 1 else 3)
    step = 1 if shift == "values" else _STEP[level]
    while True:
        first = step * rng.randint(-(-20 // step), (total - 20 * (parts - 1)) // step)
        found = [first]
        while len(found) < parts - 1:
            room = total - sum(found) - 20 * (parts - len(found) - 1)
            found.append(step * rng.randint(-(-20 // step), max(20, room) // step))
        found.append(total - sum(found))
        odd = [held_out(value) for value in found]
        fits = any(odd) if shift == "values" else not any(odd)
        if fits and min(found) >= 20 and max(found) < 180:
            break
    given = found[1:]
    texts = [str(value) for value in given]
    rng.shuffle(texts)
    texts.insert(rng.randint(0, len(given)), "x")
    layout = "line_three" if kind == "line" and parts == 3 else ""
    return Numbers(kind, "angle", tuple(given), tuple(texts), layout)


def _from_angle(rng: random.Random, asked: str, level: int, shift: str) -> Numbers:
    """As triangle or line, and twice or half of x is asked; half only of an even x."""
    while True:
        numbers = draw_numbers(rng, rng.choice(("triangle", "line")), level, shift)
        if asked != "half" or (total_of(numbers.kind) - sum(numbers.values)) % 2 == 0:
            return replace(numbers, asked=asked)


def _triple(rng: random.Random, level: int, shift: str) -> Numbers:
    """A right triangle with one side asked; out of domain also a rectangle's diagonal."""
    triples = _HELD_OUT_TRIPLES if shift == "values" else _TRIPLES[level]
    sides = sorted({side for triple in triples for side in triple})
    answer = rng.choice(sides)
    triple = rng.choice([triple for triple in triples if answer in triple])
    *legs, longest = triple
    if answer == longest or shift == "figure":
        rng.shuffle(legs)
        kind = "diagonal" if shift == "figure" else "right_triangle"
        return Numbers(kind, "hypotenuse", tuple(legs), (*map(str, legs), "x"))
    other = legs[1 - legs.index(answer)]
    texts = [str(other), "x"]
    rng.shuffle(texts)
    return Numbers("right_triangle", "leg", (longest, other), (*texts, str(longest)))


def _leg_area(rng: random.Random, level: int, shift: str) -> Numbers:
    """A right triangle, out of domain also a rectangle with its diagonal: a leg, then the area."""
    *legs, longest = rng.choice(_HELD_OUT_TRIPLES if shift == "values" else _TRIPLES[level])
    rng.shuffle(legs)
    texts = [str(legs[0]), "x"]
    rng.shuffle(texts)
    kind = "diagonal" if shift == "figure" else "right_triangle"
    return Numbers(kind, "leg_area", (longest, legs[0]), (*texts, str(longest)))


def _sizes(rng: random.Random, level: int, shift: str) -> Numbers:
    """Area and perimeter of a rectangle, a right triangle (level 3), or a parallelogram."""
    if level == 3 and shift in ("", "turned"):
        triple = rng.choice(_TRIPLES[1] + _TRIPLES[2] + _TRIPLES[3])
        legs = list(triple[:2])
        rng.shuffle(legs)
        return _area("sides", *legs, triple[2])
    low, high = {1: (2, 9), 2: (3, 20), 3: (3, 20)}[level]
    while True:
        values = (rng.randint(low, high), rng.randint(low, high))
        odd = [held_out(value) for value in values]
        if any(odd) if shift == "values" else not any(odd):
            break
    if shift == "figure":
        return _area("parallelogram", *values, values[1] + rng.randint(1, 5))
    return _area("rectangle", *values)


def _area(kind: str, *values: int) -> Numbers:
    return Numbers(kind, "area", values, tuple(map(str, values)))


def split_of(figure: Figure) -> str:
    """The one split that this figure can be in."""
    if figure.kind in OOD_KINDS or figure.turn or figure.mirror or _odd_values(figure):
        return "test_ood"
    return in_domain_split(scene_hash(canonical(figure)))


def _odd_values(figure: Figure) -> bool:
    if figure.kind in ("right_triangle", "sides"):
        known = [triple for level in _TRIPLES.values() for triple in level]
        return not any(set(figure.values) <= set(triple) for triple in known)
    values = figure.values
    if figure.asked in ANGLE_ASKED:
        values = (*values, 180 - sum(values))
    return any(held_out(value) for value in values)


def draw(rng: random.Random, family: str, wanted: Draw) -> Figure:
    """A figure of the family that belongs to the split, its labels free and well apart."""
    numbers = draw_numbers(rng, family, wanted.level, wanted.shift)
    digits = 10 if numbers.layout == "line_three" else {1: 12, 2: 11, 3: 10}[wanted.level]
    while True:
        figure = draw_figure(rng, numbers, digits, wanted.shift == "turned")
        if figure is not None and split_of(figure) == wanted.split and labels_apart(figure):
            return figure
