"""Figures of the geometry task: what is given, what is asked, and the lines and labels drawn.

Coordinates are tenths of a unit, 84 units to the image side. Figures are *not to scale*: their
shape is drawn at random, so that only the labels tell the values. In-domain kinds are triangle,
line, right_triangle (a length asked), rectangle and sides (area and perimeter of a right triangle);
quadrilateral, point, diagonal and parallelogram are met only out of domain.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ekipl_lab.benchmarks.mini.geometry.layout import LAYOUTS
from ekipl_lab.benchmarks.mini.geometry.strokes import text_width

UNITS = 84
OOD_KINDS = frozenset({"quadrilateral", "point", "diagonal", "parallelogram"})
ANGLE_KINDS = frozenset({"triangle", "line", "quadrilateral", "point"})
#: Units between the digits of two labels, side by side or one above the other (see labels_apart).
_BESIDE, _ABOVE = 3.0, 2.0


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


def draw_figure(rng: random.Random, numbers: Numbers, digits: int, turned: bool) -> Figure:
    """Lays a figure out at random.

    ``digits`` is the height of the digits in units. ``turned`` rotates by 25 to 335 degrees, or
    mirrors and rotates.
    """
    kind, asked, values = numbers.kind, numbers.asked, numbers.values
    drawing = LAYOUTS[numbers.layout or kind](rng)
    turn = rng.randrange(25, 336, 5) if turned else 0
    mirror = turned and rng.random() < 0.5
    drawing = drawing.turned(turn, mirror) if turned else drawing
    labels = tuple(
        _clamped(text, x, y, digits, kind in ANGLE_KINDS)
        for text, (x, y) in zip(numbers.texts, drawing.places, strict=True)
    )
    return Figure(
        kind,
        values if kind == "parallelogram" else _as_read(values, asked, labels),
        asked,
        labels,
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
    free = {"angle": len(values), "hypotenuse": 2, "area": 2, "leg": 0}[asked]
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


def _clamped(text: str, x: float, y: float, digits: int, degrees: bool) -> Label:
    """A label moved inside the image where it would stick out."""
    half_wide = _width(text, digits, degrees) / 2 + 1.5
    half_high = digits / 2 + 1.5
    x = min(max(x, half_wide), UNITS - half_wide)
    y = min(max(y, half_high), UNITS - half_high)
    return Label(text, round(x * 10), round(y * 10))


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
