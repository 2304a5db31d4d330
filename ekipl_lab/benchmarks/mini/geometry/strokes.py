"""A stroke font for labels: digits, x and the degree sign, readable from 8 pixels of height.

Glyphs are polylines in a box 4 wide and 6 high (y down), drawn supersampled with round ends; no
font file is needed, and pixels do not depend on the machine's fonts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw

_Line = tuple[tuple[float, float], ...]
_SIX: _Line = (
    *((3.4, 0.2), (1.8, 0.8), (0.6, 2.2), (0.0, 4.0), (0.4, 5.4), (1.8, 6.0), (3.0, 5.8)),
    *((4.0, 4.6), (3.8, 3.2), (2.6, 2.6), (1.2, 2.8), (0.1, 3.9)),
)
GLYPHS: dict[str, tuple[_Line, ...]] = {
    "0": (
        (
            *((2.0, 0.0), (3.4, 0.6), (4.0, 2.0), (4.0, 4.0), (3.4, 5.4), (2.0, 6.0)),
            *((0.6, 5.4), (0.0, 4.0), (0.0, 2.0), (0.6, 0.6), (2.0, 0.0)),
        ),
    ),
    "1": (((0.7, 1.3), (2.2, 0.0), (2.2, 6.0)), ((0.8, 6.0), (3.6, 6.0))),
    "2": (
        (
            *((0.0, 1.4), (0.6, 0.4), (2.0, 0.0), (3.4, 0.4), (4.0, 1.5), (3.6, 2.8)),
            *((0.0, 6.0), (4.0, 6.0)),
        ),
    ),
    "3": (
        ((0.2, 0.5), (1.2, 0.0), (2.8, 0.0), (3.8, 0.8), (3.8, 2.0), (2.8, 2.8), (1.5, 2.8)),
        ((2.8, 2.8), (4.0, 3.7), (4.0, 5.0), (3.0, 6.0), (1.0, 6.0), (0.0, 5.2)),
    ),
    "4": (((3.0, 6.0), (3.0, 0.0), (0.0, 4.2), (4.0, 4.2)),),
    "5": (
        (
            *((3.7, 0.0), (0.5, 0.0), (0.3, 2.7), (1.2, 2.2), (2.6, 2.2), (3.8, 3.0)),
            *((4.0, 4.2), (3.6, 5.4), (2.4, 6.0), (1.0, 6.0), (0.0, 5.2)),
        ),
    ),
    "6": (_SIX,),
    "7": (((0.0, 0.0), (4.0, 0.0), (1.6, 6.0)),),
    "8": (
        (
            *((2.0, 0.0), (3.4, 0.5), (3.7, 1.5), (3.2, 2.4), (2.0, 2.9), (0.8, 2.4)),
            *((0.3, 1.5), (0.6, 0.5), (2.0, 0.0)),
        ),
        (
            *((2.0, 2.9), (3.5, 3.5), (4.0, 4.6), (3.4, 5.6), (2.0, 6.0), (0.6, 5.6)),
            *((0.0, 4.6), (0.5, 3.5), (2.0, 2.9)),
        ),
    ),
    "9": (tuple((4.0 - x, 6.0 - y) for x, y in _SIX),),
    "x": (((0.3, 1.8), (3.7, 6.0)), ((3.7, 1.8), (0.3, 6.0))),
    "°": (
        (
            *((0.9, -0.2), (1.6, 0.1), (1.9, 0.8), (1.6, 1.5), (0.9, 1.8), (0.2, 1.5)),
            *((-0.1, 0.8), (0.2, 0.1), (0.9, -0.2)),
        ),
    ),
}
#: Width of a glyph's box and the gap after it, in glyph units; the degree sign is narrow.
WIDTH, NARROW, GAP, HEIGHT = 4.0, 1.8, 1.5, 6.0
_MARGIN = 1.0
#: Width of a label's strokes, and of the paper-coloured outline that keeps lines off the digits, in
#: glyph units; width of a figure's lines in units (84 to the image side).
STROKE, HALO = 1.05, 2.4
THICK, THIN = 1.5, 0.8


def text_width(text: str) -> float:
    """Width of a label in glyph units (its height is 6)."""
    widths = [NARROW if sign == "°" else WIDTH for sign in text]
    return sum(widths) + GAP * (len(text) - 1)


@lru_cache(maxsize=4096)
def label(text: str, height: int, weight: float = STROKE) -> Image.Image:
    """The coverage (L) of a label whose digits are ``height`` pixels high.

    ``weight`` is the width of strokes in glyph units (the degree sign's are thinner).
    """
    oversample = 4
    unit = height * oversample / HEIGHT
    width = round((text_width(text) + 2 * _MARGIN) * height / HEIGHT)
    full = round((HEIGHT + 2 * _MARGIN) * height / HEIGHT)
    canvas = Image.new("L", (width * oversample, full * oversample), 0)
    left = _MARGIN
    for sign in text:
        for line in GLYPHS[sign]:
            points = [((x + left) * unit, (y + _MARGIN) * unit) for x, y in line]
            stroke(canvas, points, (weight - 0.4 * (sign == "°")) * unit)
        left += (NARROW if sign == "°" else WIDTH) + GAP
    return canvas.reduce(oversample)


def stroke(canvas: Image.Image, points: Sequence[tuple[float, float]], width: float) -> None:
    """Draws a polyline with round joints and ends in full coverage."""
    draw = ImageDraw.Draw(canvas)
    thick = max(1, round(width))
    rounded = [(round(x), round(y)) for x, y in points]
    draw.line(rounded, fill=255, width=thick)
    radius = thick // 2
    for x, y in rounded:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
