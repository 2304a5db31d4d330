"""Figures of the geometry task: what is given, what is asked, and the lines and labels drawn.

Coordinates are tenths of a unit, 84 units to the image side. Figures are *not to scale*: their
shape is drawn at random, so that only the labels tell the values. In-domain kinds are triangle,
line, right_triangle (a length asked), rectangle and sides (area and perimeter of a right triangle);
quadrilateral, point, diagonal and parallelogram are met only out of domain.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ekipl_lab.benchmarks.mini.geometry.layout import LAYOUTS, Line, Point
from ekipl_lab.benchmarks.mini.geometry.plans import ANGLE_ASKED
from ekipl_lab.benchmarks.mini.geometry.strokes import HALO, STROKE, THICK, text_width
from ekipl_lab.benchmarks.mini.geometry.strokes import HEIGHT as GLYPH_HEIGHT

UNITS = 84
OOD_KINDS = frozenset({"quadrilateral", "point", "diagonal", "parallelogram"})
ANGLE_KINDS = frozenset({"triangle", "line", "quadrilateral", "point"})
#: Units between the digits of two labels, side by side or one above the other (see labels_apart).
_BESIDE, _ABOVE = 3.0, 2.0
#: Units between the ink of a label and the border.
_BORDER = 1.5
#: How far a label may be moved from its layout's place, in units, and the ways it may go.
_REACH, _WAYS = 12, 16


@dataclass(frozen=True, slots=True)
class Label:
    """A label's text (a number or ``x``) and its centre in tenths of a unit."""

    text: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure.

    ``values`` are the given numbers in role order (the roles of ``plans``), ``labels`` everything
    written, ``thick`` and ``thin`` polylines, ``height`` that of the digits; ``turn`` (degrees) and
    ``mirror`` are 0 and False in-domain.
    """

    kind: str
    values: tuple[int, ...]
    asked: str
    labels: tuple[Label, ...]
    thick: tuple[tuple[tuple[int, int], ...], ...]
    thin: tuple[tuple[tuple[int, int], ...], ...]
    height: int
    turn: int = 0
    mirror: bool = False
    ink: int = 0
    paper: int = 0

    @property
    def degrees(self) -> bool:
        """Whether labels carry a degree sign."""
        return self.kind in ANGLE_KINDS


def canonical(figure: Figure) -> str:
    """The text that is hashed: everything but the colours."""
    what = (figure.kind, figure.values, figure.asked, figure.height, figure.turn, figure.mirror)
    labels = [(label.text, label.x, label.y) for label in figure.labels]
    return f"geometry|{what}|{labels}|{figure.thick}|{figure.thin}"


def figure_to_json(figure: Figure) -> dict[str, Any]:
    """The figure as JSON values, kept in ``Sample.metadata["scene"]``."""
    fields = {name: getattr(figure, name) for name in Figure.__slots__}
    found: dict[str, Any] = json.loads(json.dumps(fields, default=asdict))
    return found


def figure_from_json(data: Mapping[str, Any]) -> Figure:
    """The inverse of ``figure_to_json``."""
    fields = dict(data)
    fields["values"] = tuple(data["values"])
    fields["labels"] = tuple(Label(**label) for label in data["labels"])
    for name in ("thick", "thin"):
        fields[name] = tuple(tuple((x, y) for x, y in line) for line in data[name])
    return Figure(**fields)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a question is about before it is laid out.

    ``values`` are the given numbers in role order, ``texts`` the labels in layout order; ``layout``
    is empty where it is the kind's own.
    """

    kind: str
    asked: str
    values: tuple[int, ...]
    texts: tuple[str, ...]
    layout: str = ""


def draw_figure(rng: random.Random, numbers: Numbers, digits: int, turned: bool) -> Figure | None:
    """A figure laid out at random; None where a label finds no free place in this layout.

    ``digits`` is the height of the digits in units. ``turned`` rotates by 25 to 335 degrees, or
    mirrors and rotates.
    """
    kind, asked, values = numbers.kind, numbers.asked, numbers.values
    drawing = LAYOUTS[numbers.layout or kind](rng)
    turn = rng.randrange(25, 336, 5) if turned else 0
    mirror = turned and rng.random() < 0.5
    drawing = drawing.turned(turn, mirror) if turned else drawing
    lines = (*drawing.thick, *drawing.thin)
    labels: list[Label] = []
    for text, place in zip(numbers.texts, drawing.places, strict=True):
        found = _free_place(text, place, lines, digits, kind in ANGLE_KINDS)
        if found is None:
            return None
        labels.append(found)
    return Figure(
        kind,
        values if kind == "parallelogram" else _as_read(values, asked, labels),
        asked,
        tuple(labels),
        _tenths(drawing.thick),
        _tenths(drawing.thin),
        digits * 10,
        turn,
        mirror,
        ink=rng.randrange(4),
        paper=rng.randrange(4),
    )


def _as_read(values: Sequence[int], asked: str, labels: Sequence[Label]) -> tuple[int, ...]:
    """Values whose roles can be exchanged, from left to right as they are read.

    The hypotenuse keeps its place: before the leg, or after both legs.
    """
    if asked in ANGLE_ASKED:
        free = len(values)
    else:
        free = {"hypotenuse": 2, "area": 2, "leg": 0, "leg_area": 0}[asked]
    texts = [label.text for label in sorted(labels, key=lambda label: (label.x, label.y))]
    first = sorted(values[:free], key=lambda value: texts.index(str(value)))
    return (*first, *values[free:])


def labels_apart(figure: Figure) -> bool:
    """Whether every two labels are told apart: room between them, wider than between digits."""
    digits = figure.height / 10
    for one, other in itertools.combinations(figure.labels, 2):
        wide = sum(_width(label.text, digits, figure.degrees) for label in (one, other)) / 2
        beside = abs(one.x - other.x) / 10 - wide
        above = abs(one.y - other.y) / 10 - digits
        if beside < _BESIDE and above < _ABOVE:
            return False
    return True


def _width(text: str, digits: float, degrees: bool) -> float:
    """Width of a label in units."""
    return text_width(written(text, degrees)) * digits / 6


def _free_place(
    text: str, place: Point, lines: Sequence[Line], digits: int, degrees: bool
) -> Label | None:
    """The label at the free place nearest to ``place``: inside the image, on no line.

    On the way there it crosses no line, so that it stays in its sector or on its side.
    """
    glyph = digits / GLYPH_HEIGHT
    wide, high = _width(text, digits, degrees) / 2, digits / 2
    border, margin = _BORDER + STROKE * glyph / 2, (HALO * glyph + THICK) / 2
    for x, y in _around(place):
        inside = min(x, UNITS - x) >= wide + border and min(y, UNITS - y) >= high + border
        if inside and not any(
            _meets_box(start, end, (x, y), wide + margin, high + margin)
            or _cross(start, end, place, (x, y))
            for line in lines
            for start, end in itertools.pairwise(line)
        ):
            return Label(text, round(x * 10), round(y * 10))
    return None


def _around(place: Point) -> Iterator[Point]:
    """``place``, then points around it, the near ones first."""
    yield place
    for distance in range(1, _REACH + 1):
        for way in range(_WAYS):
            turn = 2 * math.pi * way / _WAYS
            yield place[0] + distance * math.cos(turn), place[1] + distance * math.sin(turn)


def _meets_box(start: Point, end: Point, centre: Point, wide: float, high: float) -> bool:
    """Whether a line segment enters the box of these half sides (Liang-Barsky clipping)."""
    enter, leave = 0.0, 1.0
    for axis, half in ((0, wide), (1, high)):
        begin, step = start[axis] - centre[axis], end[axis] - start[axis]
        if step == 0.0:
            if abs(begin) >= half:
                return False
            continue
        first, last = sorted(((-half - begin) / step, (half - begin) / step))
        enter, leave = max(enter, first), min(leave, last)
    return enter < leave


def _cross(one: Point, two: Point, three: Point, four: Point) -> bool:
    """Whether two segments cross."""

    def side(a: Point, b: Point, c: Point) -> bool:
        return (b[0] - a[0]) * (c[1] - a[1]) > (b[1] - a[1]) * (c[0] - a[0])

    return side(one, two, three) != side(one, two, four) and (
        side(three, four, one) != side(three, four, two)
    )


def written(text: str, degrees: bool) -> str:
    """A label as it is drawn: angles with a degree sign, the unknown without."""
    return f"{text}°" if degrees and text != "x" else text


def _tenths(
    lines: Sequence[Sequence[tuple[float, float]]],
) -> tuple[tuple[tuple[int, int], ...], ...]:
    return tuple(tuple((round(x * 10), round(y * 10)) for x, y in line) for line in lines)


def reading_order(figure: Figure) -> list[Label]:
    """Labels from left to right (then top to bottom)."""
    return sorted(figure.labels, key=lambda label: (label.x, label.y))


def place_of(label: Label) -> str:
    """Where a label stands: ``top``, ``bottom left``, ``middle right``, ``middle`` ..."""
    third = UNITS * 10 / 3
    column = ("left", "", "right")[min(2, int(label.x / third))]
    row = ("top", "middle", "bottom")[min(2, int(label.y / third))]
    return f"{row} {column}".strip()
