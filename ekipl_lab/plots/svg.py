"""Curves with bands as a static SVG: drawn in a millisecond, without a script or a browser.

The look is the page's: a line has its colour as the CSS variable ``--c``, axes and texts take
``currentColor``. The plotly figures of `ekipl_lab.plots.figures` are for pages that run scripts.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby, pairwise

from ekipl_lab.plots.figures import _ARM_COLOURS, _DASHES, Curves, Point

WIDTH, HEIGHT = 420, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 26
#: A curve with more points than this is drawn through the means of as many parts.
MAX_POINTS = 400
#: At most so many parts of a figure lead to an address.
MAX_LINKS = 180
_STROKES = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "12 4"}


def draw(
    curves: Curves,
    *,
    title: str,
    colours: Mapping[str, str] | None = None,
    links: Mapping[str, Mapping[int, str]] | None = None,
    x: str = "step",
) -> str:
    """A figure: title, axes, one line (and band) for each curve, and what each line is.

    ``colours`` by name, else each has a colour and dashes of its own; ``links``: name of a
    curve -> x -> the address that a click nearest to that curve there opens; ``x`` is the unit of
    the axis. A curve of one point has its interval as a bar. Names and addresses are escaped.
    Values that are not finite are left out.
    """
    kept = {name: thinned([p for p in curve if _finite(p)]) for name, curve in curves.items()}
    kept = {name: curve for name, curve in kept.items() if curve}
    looks = {
        name: (
            (colours or {}).get(name, _ARM_COLOURS[i % len(_ARM_COLOURS)]),
            "" if colours else _STROKES.get(_DASHES[(i + 1) % 4], ""),
        )
        for i, name in enumerate(curves)
    }
    frame = _Frame([point for curve in kept.values() for point in curve])
    body = [frame.axes(x)]
    body += [frame.band(curve, looks[name][0]) for name, curve in kept.items()]
    body += [frame.line(curve, *looks[name]) for name, curve in kept.items()]
    body += [frame.strips(kept, links or {})]
    legend = "".join(
        f'<li style="--c:{looks[name][0]}">{_key(looks[name][1])}{escape(name)} '
        f"<b>{curve[-1].y:.3g}</b></li>"
        for name, curve in kept.items()
    )
    role = "group" if links else "img"  # nothing inside a picture can be reached
    return (
        f'<figure class="plot"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="{role}" aria-label="{escape(title)}">'
        f"{''.join(body)}</svg><ul>{legend}</ul></figure>"
    )


def _key(dashes: str) -> str:
    """A short piece of a line with its dashes, so that its colour is not its only sign."""
    stroke = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<svg viewBox="0 0 24 4" aria-hidden="true"><path d="M0 2H24"{stroke}/></svg>'


def thinned(curve: Sequence[Point]) -> list[Point]:
    """The curve, or the means of ``MAX_POINTS`` equal parts of it; the last point stays."""
    if len(curve) <= MAX_POINTS:
        return list(curve)
    size = math.ceil(len(curve) / MAX_POINTS)
    parts = [curve[i : i + size] for i in range(0, len(curve) - 1, size)]
    means = [
        Point(sum(p.x for p in part) / len(part), sum(p.y for p in part) / len(part))
        for part in parts
    ]
    return [*means, curve[-1]]


def _finite(point: Point) -> bool:
    return all(v is None or math.isfinite(v) for v in (point.x, point.y, point.low, point.high))


class _Frame:
    """The place of values in the picture."""

    def __init__(self, points: Sequence[Point]) -> None:
        xs = [point.x for point in points] or [0.0, 1.0]
        ys = [v for p in points for v in (p.y, p.low, p.high) if v is not None] or [0.0, 1.0]
        self.x0, self.x1 = min(xs), max(max(xs), min(xs) + 1)
        self.ticks = _ticks(min(ys), max(ys))
        self.y0, self.y1 = self.ticks[0], self.ticks[-1]

    def at(self, x: float, y: float) -> str:
        """``x,y`` in the picture's own units."""
        return f"{self._x(x):.1f},{self._y(y):.1f}"

    def _x(self, x: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (x - self.x0) / (self.x1 - self.x0)

    def _y(self, y: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (y - self.y0) / (self.y1 - self.y0)

    def axes(self, unit: str) -> str:
        """Lines across with their values, and the steps at both ends."""
        lines = "".join(
            f'<path class="grid" d="M{_LEFT} {self._y(y):.1f}H{WIDTH - _RIGHT}"/>'
            f'<text x="{_LEFT - 6}" y="{self._y(y) + 3.5:.1f}" text-anchor="end">{y:.3g}</text>'
            for y in self.ticks
        )
        foot = HEIGHT - 8
        return (
            f'{lines}<text x="{_LEFT}" y="{foot}">{escape(unit)} {self.x0:g}</text>'
            f'<text x="{WIDTH - _RIGHT}" y="{foot}" text-anchor="end">{self.x1:g}</text>'
        )

    def band(self, curve: Sequence[Point], colour: str) -> str:
        """The intervals of a curve as an area; nothing where fewer than two points have one."""
        known = [(p.x, p.low, p.high) for p in curve if p.low is not None and p.high is not None]
        if len(known) < 2:
            return ""
        there = [self.at(x, high) for x, _, high in known]
        back = [self.at(x, low) for x, low, _ in reversed(known)]
        return f'<polygon style="--c:{colour}" points="{" ".join([*there, *back])}"/>'

    def line(self, curve: Sequence[Point], colour: str, dashes: str) -> str:
        """A curve as a line, with marks where it has few points."""
        path = " ".join(self.at(p.x, p.y) for p in curve)
        marks = "".join(
            f'<circle style="--c:{colour}" cx="{x}" cy="{y}" r="2.5"/>'
            for x, y in ((self.at(p.x, p.y)).split(",") for p in curve)
        )
        stroke = f' stroke-dasharray="{dashes}"' if dashes else ""
        line = f'<polyline style="--c:{colour}"{stroke} points="{path}"/>'
        return line + self._bar(curve, colour) + (marks if len(curve) <= 40 else "")

    def _bar(self, curve: Sequence[Point], colour: str) -> str:
        point = curve[0]
        if len(curve) > 1 or point.low is None or point.high is None:
            return ""
        ends = f"{self.at(point.x, point.low)} {self.at(point.x, point.high)}"
        return f'<polyline style="--c:{colour}" points="{ends}"/>'

    def strips(self, curves: Curves, links: Mapping[str, Mapping[int, str]]) -> str:
        """Invisible parts of the picture that lead to an address: the nearest x that has one, and
        of the curves that have one there the nearest."""
        links = {name: own for name, own in links.items() if name in curves}
        inside = sorted({x for own in links.values() for x in own if self.x0 <= x <= self.x1})
        if not inside:
            return ""
        every = math.ceil(len(inside) * len(links) / MAX_LINKS)
        kept = inside[::-every][::-1]
        edges = [_LEFT, *((self._x(a) + self._x(b)) / 2 for a, b in pairwise(kept)), WIDTH - _RIGHT]
        return "".join(
            f'<a href="{escape(address)}" tabindex="-1"><title>{escape(name)}step {x}</title>'
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{foot - top:.1f}"/></a>'
            for x, (left, right) in zip(kept, pairwise(edges), strict=True)
            for name, address, top, foot in self._heights(x, curves, links)
        )

    def _heights(
        self, x: int, curves: Curves, links: Mapping[str, Mapping[int, str]]
    ) -> Iterator[tuple[str, str, float, float]]:
        """Name, address, top and foot of what is nearest to each curve at an x; curves that lead to
        one place, one above the other, are one part, and without a name where they are all."""
        known = [(self._y(_at(curves[n], x)), n, own[x]) for n, own in links.items() if x in own]
        parts = [list(part) for _, part in groupby(sorted(known), key=lambda one: one[2])]
        borders = [(above[-1][0] + below[0][0]) / 2 for above, below in pairwise(parts)]
        for part, (top, foot) in zip(
            parts, pairwise([_TOP, *borders, HEIGHT - _BOTTOM]), strict=True
        ):
            names = ", ".join(name for _, name, _ in part)
            yield f"{names}, " if len(parts) > 1 else "", part[0][2], top, foot


def _at(curve: Sequence[Point], x: float) -> float:
    """The value of a curve's first point that is not before an x, or of its last one."""
    return curve[min(bisect_left(curve, x, key=lambda point: point.x), len(curve) - 1)].y


def _ticks(low: float, high: float) -> list[float]:
    """Values of an axis, at equal round distances: 0 to 1 for shares, from 0 for a constant."""
    if low >= 0 and high <= 1 and high > 0.2:
        low, high = 0.0, 1.0
    elif high - low < 1e-9 * max(1.0, abs(high)):
        low, high = (0.0, 2 * high or 1.0) if low >= 0 else (2 * low, 0.0)
    least = (high - low) / 4 * (1 - 1e-9)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= least)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]
