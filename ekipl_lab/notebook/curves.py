"""Small line charts as SVG: no browser draws them, and every viewer of a notebook shows them."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

#: Rising steps with their values.
Points = list[tuple[int, float]]
COLORS = ("#2b62d9", "#d9730d", "#0f8a6d", "#a2429f", "#7a6a00")


def draw_curves(title: str, panels: Sequence[tuple[str, Mapping[str, Points]]]) -> str:
    """Small line charts side by side as SVG; each line is labelled with its last value."""
    width = 300
    rows = max((math.ceil(len(curves) / 2) for _, curves in panels), default=0)
    height = 172 + 15 * max(3, rows)  # two labels in a row
    drawn = [
        _panel(name, curves, index * width, width) for index, (name, curves) in enumerate(panels)
    ]
    total = max(1, len(panels)) * width
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" width="{total}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="11">'
        f'<rect width="{total}" height="{height}" fill="#ffffff"/>'
        f'<text x="8" y="16" fill="#5d6675">{html.escape(title)}</text>{"".join(drawn)}</svg>'
    )


def _panel(name: str, curves: Mapping[str, Points], left: float, width: float) -> str:
    """One chart with its own axes; top and bottom of the values are labelled."""
    x0, x1, y0, y1 = left + 34, left + width - 12, 62, 150
    points = [point for line in curves.values() for point in line]
    first, last = min((p[0] for p in points), default=0), max((p[0] for p in points), default=1)
    low, high = min((p[1] for p in points), default=0.0), max((p[1] for p in points), default=1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5

    def place(step: int, value: float) -> str:
        x = x0 + (x1 - x0) * (step - first) / max(1, last - first)
        return f"{x:.1f},{y1 - (y1 - y0) * (value - low) / (high - low):.1f}"

    parts = [
        _text(left + 8, 46, name, "#1b1f27", weight=600),
        f'<path d="M{x0} {y0}V{y1}H{x1}" fill="none" stroke="#d5dae2"/>',
        _text(x0 - 4, y0 + 4, f"{high:.3g}", anchor="end"),
        _text(x0 - 4, y1, f"{low:.3g}", anchor="end"),
        _text(x0, y1 + 14, str(first)),
        _text(x1, y1 + 14, str(last), anchor="end"),
    ]
    for index, (metric, line) in enumerate(curves.items()):
        path = " ".join(place(*point) for point in line)
        color = COLORS[index % len(COLORS)]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>')
        label = f"{metric} {line[-1][1]:.3g}"
        parts.append(_text(left + 8 + 140 * (index % 2), 180 + 15 * (index // 2), label, color))
    return "".join(parts)


def _text(
    x: float,
    y: float,
    text: str,
    color: str = "#8b94a3",
    *,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{color}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{html.escape(text)}</text>'
    )
