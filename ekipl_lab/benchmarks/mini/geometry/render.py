"""Pixels of a geometry figure: dark lines and stroke-font labels on light paper, anti-aliased."""

from __future__ import annotations

from PIL import Image

from ekipl_lab.benchmarks.mini.geometry.figure import UNITS, Figure, written
from ekipl_lab.benchmarks.mini.geometry.strokes import HALO, THICK, THIN, label, stroke

_INKS = ((24, 24, 28), (20, 40, 110), (16, 84, 60), (92, 40, 100))
_PAPERS = ((255, 255, 255), (250, 248, 238), (240, 246, 252), (244, 244, 240))
_UNKNOWN = (205, 20, 30)


def render(figure: Figure, size: int) -> Image.Image:
    """The figure as an RGB image of ``size`` x ``size`` pixels; the unknown's label is red."""
    ink, paper = _INKS[figure.ink], _PAPERS[figure.paper]
    image = Image.new("RGB", (size, size), paper)
    image.paste(ink, (0, 0, size, size), _lines(figure, size))
    height = max(5, round(figure.height * size / (UNITS * 10)))
    for item in figure.labels:
        mask = label(written(item.text, figure.degrees), height)
        left = round(item.x * size / (UNITS * 10) - mask.width / 2)
        top = round(item.y * size / (UNITS * 10) - mask.height / 2)
        image.paste(paper, (left, top), label(written(item.text, figure.degrees), height, HALO))
        image.paste(_UNKNOWN if item.text == "x" else ink, (left, top), mask)
    return image


def _lines(figure: Figure, size: int) -> Image.Image:
    """Coverage (L) of all lines."""
    oversample = 4 if size <= 168 else 2
    scale = size * oversample / (UNITS * 10)
    canvas = Image.new("L", (size * oversample, size * oversample), 0)
    for lines, width in ((figure.thick, THICK), (figure.thin, THIN)):
        for line in lines:
            stroke(canvas, [(x * scale, y * scale) for x, y in line], width * 10 * scale)
    return canvas.reduce(oversample)
