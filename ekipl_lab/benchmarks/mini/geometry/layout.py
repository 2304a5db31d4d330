"""Random layouts of the kinds of figure, in units (84 to the image side), y down.

A layout gives thick lines (the figure), thin lines (arcs, right-angle marks, a height) and the
places of the labels in a fixed order: angles from the left end of the figure, lengths as named.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

Point = tuple[float, float]
Line = tuple[Point, ...]
CENTRE = 42.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """Thick and thin polylines and the places of the labels."""

    thick: tuple[Line, ...]
    thin: tuple[Line, ...]
    places: tuple[Point, ...]

    def moved(self, move: Callable[[Point], Point]) -> Drawing:
        """The drawing with every point moved."""
        thick, thin = (
            tuple(tuple(map(move, line)) for line in lines) for lines in (self.thick, self.thin)
        )
        return Drawing(thick, thin, tuple(map(move, self.places)))

    def turned(self, degrees: int, mirror: bool) -> Drawing:
        """The drawing rotated about the centre (and mirrored first), shrunk to stay inside."""
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

        def move(point: Point) -> Point:
            x = (point[0] - CENTRE) * (-0.86 if mirror else 0.86)
            y = (point[1] - CENTRE) * 0.86
            return (CENTRE + x * cosine - y * sine, CENTRE + x * sine + y * cosine)

        return self.moved(move)


def _unit(start: Point, end: Point) -> Point:
    x, y = end[0] - start[0], end[1] - start[1]
    length = math.sqrt(x * x + y * y)
    return (x / length, y / length)


def _along(start: Point, direction: Point, distance: float) -> Point:
    return (start[0] + direction[0] * distance, start[1] + direction[1] * distance)


def _arc(corner: Point, first: Point, second: Point, radius: float) -> Line:
    """An arc at a corner between two directions less than 180 degrees apart."""
    points = []
    for step in range(9):
        part = step / 8
        x = first[0] * (1 - part) + second[0] * part
        y = first[1] * (1 - part) + second[1] * part
        length = math.sqrt(x * x + y * y)
        points.append((corner[0] + radius * x / length, corner[1] + radius * y / length))
    return tuple(points)


def _square(corner: Point, first: Point, second: Point) -> Line:
    one, two = _along(corner, first, 6), _along(corner, second, 6)
    return (one, _along(one, second, 6), two)


def _polygon(points: tuple[Point, ...]) -> Line:
    return (*points, points[0])


def _corners(points: tuple[Point, ...], distance: float) -> tuple[tuple[Line, ...], list[Point]]:
    """An arc inside every corner of a convex polygon, and a place outside of it."""
    arcs, places = [], []
    for place, corner in enumerate(points):
        before = _unit(corner, points[place - 1])
        after = _unit(corner, points[(place + 1) % len(points)])
        arcs.append(_arc(corner, before, after, 8))
        inward = _unit((0.0, 0.0), (before[0] + after[0], before[1] + after[1]))
        places.append(_along(corner, inward, -distance))
    return tuple(arcs), places


def _triangle(rng: random.Random) -> Drawing:
    """Labels: left, right, top."""
    left = (rng.uniform(13, 26), rng.uniform(48, 68))
    right = (left[0] + rng.uniform(38, 44), left[1] + rng.uniform(-3, 3))
    top = (rng.uniform(left[0] + 8, right[0] - 8), left[1] - rng.uniform(27, 36))
    points = (left, right, top)
    arcs, places = _corners(points, 12)
    return Drawing((_polygon(points),), arcs, tuple(places))


def _ray(angle: float) -> Point:
    return (math.cos(math.radians(angle)), -math.sin(math.radians(angle)))


def _rays(rng: random.Random, angles: list[float], line: bool) -> Drawing:
    """Rays from a vertex at drawn angles (degrees, anticlockwise); labels between neighbours.

    ``line``: the first and the last ray make a straight line, with nothing below it.
    """
    across = (38, 46) if len(angles) == 4 else (32, 52)  # two rays on a line leave less room
    vertex = (rng.uniform(*across), rng.uniform(46, 74) if line else rng.uniform(36, 48))
    length = rng.uniform(34, 40)
    thick: list[Line] = [(vertex, _along(vertex, _ray(angle), length)) for angle in angles]
    thin, places = [], []
    following = angles[1:] + ([] if line else [angles[0] + 360])
    for start, end in zip(angles, following, strict=False):
        mid = _ray((start + end) / 2)
        thin.append(_arc(vertex, _ray(start), mid, 8) + _arc(vertex, mid, _ray(end), 8)[1:])
        places.append(_along(vertex, mid, rng.uniform(28, 32)))
    return Drawing(tuple(thick), tuple(thin), tuple(places))


def _line_three(rng: random.Random) -> Drawing:
    """Two rays on a straight line; labels: right, middle, left sector."""
    first = rng.uniform(52, 62)
    return _rays(rng, [0, first, first + rng.uniform(58, 66), 180], line=True)


def _point(rng: random.Random) -> Drawing:
    """Three rays around a point; labels anticlockwise."""
    start = rng.uniform(0, 60)
    second = start + rng.uniform(100, 130)
    return _rays(rng, [start, second, second + rng.uniform(100, 130)], line=False)


def _quadrilateral(rng: random.Random) -> Drawing:
    """Labels: bottom left, bottom right, top right, top left."""
    points = (
        (rng.uniform(18, 24), rng.uniform(58, 64)),
        (rng.uniform(60, 66), rng.uniform(58, 64)),
        (rng.uniform(54, 66), rng.uniform(20, 26)),
        (rng.uniform(20, 32), rng.uniform(20, 26)),
    )
    arcs, places = _corners(points, 11)
    return Drawing((_polygon(points),), arcs, tuple(places))


def _right_triangle(rng: random.Random) -> Drawing:
    """Labels: base, upright, hypotenuse; the right angle at the bottom left or right."""
    corner = (rng.uniform(21, 38), rng.uniform(46, 68))
    base = (min(76.0, corner[0] + rng.uniform(28, 48)), corner[1])
    top = (corner[0], max(10.0, corner[1] - rng.uniform(28, 48)))
    square = _square(corner, _unit(corner, base), _unit(corner, top))
    away = _unit((0.0, 0.0), (corner[1] - top[1], -(base[0] - corner[0])))
    middle = ((base[0] + top[0]) / 2, (base[1] + top[1]) / 2)
    places = (
        ((corner[0] + base[0]) / 2, corner[1] + 10),
        (corner[0] - 12, (corner[1] + top[1]) / 2),
        _along(middle, away, 12),
    )
    drawing = Drawing((_polygon((corner, base, top)),), (square,), places)
    if rng.random() < 0.5:
        return drawing.moved(lambda point: (2 * CENTRE - point[0], point[1]))
    return drawing


def _rectangle(rng: random.Random) -> Drawing:
    """Labels: width (below), height (left); the right angle at the bottom left."""
    left, bottom = rng.uniform(21, 40), rng.uniform(40, 68)
    width, height = rng.uniform(22, 48), rng.uniform(22, 48)
    top, right = max(6.0, bottom - height), min(78.0, left + width)
    points = ((left, bottom), (right, bottom), (right, top), (left, top))
    square = _square(points[0], (1.0, 0.0), (0.0, -1.0))
    places = (((left + right) / 2, bottom + 10), (left - 12, (top + bottom) / 2))
    return Drawing((_polygon(points),), (square,), places)


def _diagonal(rng: random.Random) -> Drawing:
    """A rectangle and its diagonal; labels: width, height, diagonal."""
    plain = _rectangle(rng)
    corner, _, opposite, *_ = plain.thick[0]
    middle = ((corner[0] + opposite[0]) / 2, (opposite[1] + corner[1]) / 2)
    away = _unit((0.0, 0.0), (corner[1] - opposite[1], opposite[0] - corner[0]))
    place = _along(middle, away, 8)
    return Drawing((*plain.thick, (corner, opposite)), plain.thin, (*plain.places, place))


def _parallelogram(rng: random.Random) -> Drawing:
    """Labels: base (below), height (inside, thin line), slanted side (left)."""
    left, top, right, bottom = rng.uniform(16, 20), rng.uniform(18, 26), 62.0, rng.uniform(58, 66)
    lean = rng.uniform(12, 16)
    points = ((left, bottom), (right, bottom), (right + lean, top), (left + lean, top))
    foot = left + lean + rng.uniform(8, 12)
    height = ((foot, bottom), (foot, top))
    mark = _square((foot, bottom), (1.0, 0.0), (0.0, -1.0))
    places = (
        ((left + right) / 2, bottom + 10),
        (foot + 11, (top + bottom) / 2),
        (left + lean / 2 - 10, (top + bottom) / 2 - 6),
    )
    return Drawing((_polygon(points),), (height, mark), places)


LAYOUTS: dict[str, Callable[[random.Random], Drawing]] = {
    "triangle": _triangle,
    "line": lambda rng: _rays(rng, [0, rng.uniform(55, 125), 180], line=True),
    "line_three": _line_three,
    "right_triangle": _right_triangle,
    "rectangle": _rectangle,
    "sides": _right_triangle,
    "quadrilateral": _quadrilateral,
    "point": _point,
    "diagonal": _diagonal,
    "parallelogram": _parallelogram,
}
