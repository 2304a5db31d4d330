"""Small line charts as SVG and PNG: no browser draws them, every viewer shows one of them."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: Rising steps with their values.
Points = list[tuple[int, float]]
COLORS = ("#2b62d9", "#d9730d", "#0f8a6d", "#a2429f", "#7a6a00")
GREY, AXIS, DARK = "#8b94a3", "#d5dae2", "#1b1f27"
#: Width of one chart in pixels; pixels of the PNG per pixel.
WIDTH, SCALE = 300, 2


@dataclass(frozen=True, slots=True)
class _Line:
    points: tuple[tuple[float, float], ...]
    color: str
    width: float


@dataclass(frozen=True, slots=True)
class _Text:
    x: float
    y: float
    text: str
    color: str = GREY
    anchor: str = "start"
    weight: int = 400


@dataclass(frozen=True, slots=True)
class Curves:
    """Line charts side by side; each line is labelled with its last value.

    ``panels``: the title of a chart and its lines by name.
    """

    title: str
    panels: tuple[tuple[str, Mapping[str, Points]], ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        rows = max((math.ceil(len(curves) / 2) for _, curves in self.panels), default=0)
        return max(1, len(self.panels)) * WIDTH, 172 + 15 * max(3, rows)  # two labels in a row

    def svg(self) -> str:
        """The picture as SVG; every text is escaped."""
        width, height = self.size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="system-ui, sans-serif" '
            f'font-size="11"><rect width="{width}" height="{height}" fill="#ffffff"/>'
            f"{''.join(map(_svg, self._shapes()))}</svg>"
        )

    def png(self) -> bytes:
        """The same picture as PNG, for viewers that do not show SVG."""
        from PIL import Image, ImageDraw, ImageFont

        width, height = self.size
        image = Image.new("RGB", (width * SCALE, height * SCALE), "#ffffff")
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(11 * SCALE)
        for shape in self._shapes():
            if isinstance(shape, _Text):
                place = (shape.x * SCALE, shape.y * SCALE)
                anchor = "rs" if shape.anchor == "end" else "ls"
                draw.text(place, shape.text, shape.color, font=font, anchor=anchor)
            else:
                points = [(x * SCALE, y * SCALE) for x, y in shape.points]
                draw.line(points, shape.color, round(shape.width * SCALE), joint="curve")
        file = io.BytesIO()
        image.quantize(64).save(file, "PNG", optimize=True)
        return file.getvalue()

    def _shapes(self) -> Iterator[_Line | _Text]:
        yield _Text(8, 16, self.title, "#5d6675")
        for index, (name, curves) in enumerate(self.panels):
            yield from _panel(name, curves, index * WIDTH)


def _panel(name: str, curves: Mapping[str, Points], left: float) -> Iterator[_Line | _Text]:
    """One chart with its own axes; top and bottom of the values are labelled."""
    x0, x1, y0, y1 = left + 34, left + WIDTH - 12, 62, 150
    points = [point for line in curves.values() for point in line]
    first, last = min((p[0] for p in points), default=0), max((p[0] for p in points), default=1)
    low, high = min((p[1] for p in points), default=0.0), max((p[1] for p in points), default=1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5

    def place(step: int, value: float) -> tuple[float, float]:
        x = x0 + (x1 - x0) * (step - first) / max(1, last - first)
        return x, y1 - (y1 - y0) * (value - low) / (high - low)

    yield _Text(left + 8, 46, name, DARK, weight=600)
    yield _Line(((x0, y0), (x0, y1), (x1, y1)), AXIS, 1)
    yield _Text(x0 - 4, y0 + 4, f"{high:.3g}", anchor="end")
    yield _Text(x0 - 4, y1, f"{low:.3g}", anchor="end")
    yield _Text(x0, y1 + 14, str(first))
    yield _Text(x1, y1 + 14, str(last), anchor="end")
    for index, (metric, line) in enumerate(curves.items()):
        color = COLORS[index % len(COLORS)]
        yield _Line(tuple(place(*point) for point in line), color, 1.6)
        label = f"{metric} {line[-1][1]:.3g}"
        yield _Text(left + 8 + 140 * (index % 2), 180 + 15 * (index // 2), label, color)


def _svg(shape: _Line | _Text) -> str:
    if isinstance(shape, _Text):
        return (
            f'<text x="{shape.x:g}" y="{shape.y:g}" fill="{shape.color}" '
            f'text-anchor="{shape.anchor}" font-weight="{shape.weight}">'
            f"{html.escape(shape.text)}</text>"
        )
    tag = "polyline" if shape.color != AXIS else "path"
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    place = f'points="{points}"' if tag == "polyline" else f'd="M{points}"'
    return f'<{tag} {place} fill="none" stroke="{shape.color}" stroke-width="{shape.width:g}"/>'
