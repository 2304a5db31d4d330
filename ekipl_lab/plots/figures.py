"""Plotly figures from plain values: for the report, notebooks and the app alike.

One figure is one panel, so that a page can lay several out side by side or below each other.
Colours are those of Okabe and Ito, told apart by every kind of colour vision: an action source has
the same colour in every figure, and an arm (a run that is compared) too. Arms also differ in their
dashes and markers.
"""

from __future__ import annotations

import html
import logging
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from ekipl_lab.errors import ConfigError
from ekipl_lab.types import KEPT, POLICY

_POLICY_COLOUR, _KEPT_COLOUR = "#0072B2", "#222222"
_TEACHER_COLOURS = ("#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#882255")
_ARM_COLOURS = ("#5F6368", "#B5410A", "#00674F", "#6A3D9A", "#8A6D00", "#A0186F")
_DASHES = ("dash", "solid", "dot", "dashdot", "longdash", "longdashdot")
_MARKERS = ("circle-open", "circle", "square", "diamond", "triangle-up", "x")
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_GRID, _AXIS, _INK = "#E6E8EB", "#9AA0A6", "#202124"


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a curve, with its interval where there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


#: Name of an arm or source -> its points by rising x.
Curves = Mapping[str, Sequence[Point]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference with its interval, for one slice of the items."""

    label: str
    value: float
    low: float
    high: float
    n: int


def source_colours(sources: Iterable[str]) -> dict[str, str]:
    """One colour for each source: the policy's, that of what was kept, then teachers by id."""
    names = set(sources)
    fixed = {POLICY: _POLICY_COLOUR, KEPT: _KEPT_COLOUR}
    teachers = sorted(names - set(fixed))
    cycle = {name: _TEACHER_COLOURS[i % len(_TEACHER_COLOURS)] for i, name in enumerate(teachers)}
    return {name: colour for name, colour in (fixed | cycle).items() if name in names}


def points(history: Iterable[tuple[float, float]]) -> list[Point]:
    """A metric's (step, value) points as a curve; NaN is left out."""
    return [Point(x, y) for x, y in history if not math.isnan(y)]


def smooth(curve: Sequence[Point], window: int) -> list[Point]:
    """Each value replaced by the mean of itself and up to ``window - 1`` values before it."""
    values = [point.y for point in curve]
    return [
        Point(point.x, sum(part) / len(part))
        for i, point in enumerate(curve)
        for part in [values[max(0, i + 1 - window) : i + 1]]
    ]


def learning_curves(
    curves: Curves,
    *,
    title: str,
    y_title: str,
    x_title: str = "optimiser steps",
    unit_interval: bool = True,
    arms: Sequence[str] = (),
) -> go.Figure:
    """One line per arm, its interval as a band; ``unit_interval`` fixes y to 0..100 %.

    ``arms`` names all arms that are compared, so that one has the same look where others lack.
    """
    figure = blank_figure(title, x_title, y_title)
    order = list(dict.fromkeys((*arms, *curves)))
    for name, curve in curves.items():
        index = order.index(name)
        colour = _ARM_COLOURS[index % len(_ARM_COLOURS)]
        group = f"arm {index}"
        _band(figure, curve, colour, group)
        _line(
            figure,
            name,
            curve,
            customdata=[[p.low, p.high] for p in curve],
            legendgroup=group,
            mode="lines+markers",
            line={"color": colour, "width": 2.2, "dash": _DASHES[index % len(_DASHES)]},
            marker={"size": 8, "symbol": _MARKERS[index % len(_MARKERS)]},
        )
    if unit_interval:
        figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", dtick=0.2)
    return figure


def source_lines(
    curves: Curves,
    *,
    title: str,
    y_title: str,
    x_title: str = "optimiser steps",
    colours: Mapping[str, str] | None = None,
) -> go.Figure:
    """One line per action source, and ``kept``: rewards apart, lengths, successes.

    Points with intervals have markers and bars.
    """
    colours = colours or source_colours(curves)
    figure = blank_figure(title, x_title, y_title)
    for name in sorted(curves, key=_source_order):
        line = {
            "color": colours[name],
            "width": 2.6 if name == POLICY else 1.8,
            "dash": "dot" if name == KEPT else "solid",
        }
        bars = interval_bars(curves[name]) if any(p.low is not None for p in curves[name]) else {}
        _line(figure, name, curves[name], line=line, **bars)
    return figure


def source_shares(
    curves: Curves,
    *,
    title: str,
    y_title: str = "share of kept actions",
    colours: Mapping[str, str] | None = None,
) -> go.Figure:
    """Stacked areas, the policy at the bottom; the shares of a step add up to 1."""
    colours = colours or source_colours(curves)
    figure = blank_figure(title, "optimiser steps", y_title)
    for name in sorted(curves, key=_source_order):
        _line(
            figure,
            name,
            curves[name],
            stackgroup="sources",
            line={"color": colours[name], "width": 0.6},
            fillcolor=_rgba(colours[name], 0.78),
        )
    figure.update_yaxes(range=[0, 1], tickformat=".0%", dtick=0.25)
    return figure


def before_and_after(curves: Mapping[str, tuple[Sequence[Point], Sequence[Point]]]) -> go.Figure:
    """Share of groups with zero spread per arm: before selection dotted, after it solid."""
    figure = blank_figure(
        "Groups that teach nothing", "optimiser steps", "share of groups with zero spread"
    )
    for index, (name, pair) in enumerate(curves.items()):
        for when, dash, curve in zip(("before", "after"), ("dot", "solid"), pair, strict=True):
            line = {"color": _ARM_COLOURS[index % len(_ARM_COLOURS)], "width": 2, "dash": dash}
            _line(figure, f"{name}, {when} selection", curve, line=line)
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", dtick=0.25)
    return figure


def scatter(
    places: Sequence[tuple[str, str, Point]], *, title: str, x_title: str, y_title: str
) -> go.Figure:
    """Single points with their intervals: (source, name, point), in the source's colour."""
    figure = blank_figure(title, x_title, y_title)
    colours = source_colours({source for source, _, _ in places})
    for source, name, point in places:
        marker = {"color": colours[source], "size": 10}
        _line(figure, name, [point], **interval_bars([point]), marker=marker)
    return figure


def differences(rows: Sequence[Difference], *, title: str, x_title: str) -> go.Figure:
    """Paired differences with intervals, one row each, first on top; a line marks zero."""
    figure = blank_figure(title, x_title, "")
    shown = [Point(row.value, row.value, row.low, row.high) for row in reversed(rows)]
    bars = interval_bars(shown)
    figure.add_scatter(
        x=[p.x for p in shown],
        y=[f"{figure_text(row.label)} (n = {row.n})" for row in reversed(rows)],
        error_x={**bars["error_y"], "color": _AXIS, "thickness": 1.6, "width": 4},
        mode="markers",
        marker={"size": 9, "color": _INK},
        customdata=bars["customdata"],
        hovertemplate="%{y}: %{x:+.3~g} [%{customdata[0]:+.3~g}, %{customdata[1]:+.3~g}]"
        "<extra></extra>",
        showlegend=False,
    )
    figure.add_vline(x=0, line={"color": _INK, "width": 1})
    height = 120 + 34 * max(1, len(rows))
    figure.update_layout(height=height, margin={"l": 10, "b": 60})
    figure.update_layout(title={"x": 0.01, "xref": "container"})
    figure.update_yaxes(automargin=True, showgrid=False)
    figure.update_xaxes(tickformat="+~g", rangemode="normal", nticks=6, tickangle=0)
    return figure


def write_image(figure: go.Figure, path: str | Path, *, width: int = 760, scale: float = 2) -> Path:
    """Draw a figure as a file (.png, .svg or .pdf by its ending) with kaleido and a browser.

    Raises ConfigError where one of the two is missing.
    """
    target = Path(path)
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    try:
        import kaleido  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError("Static figures need kaleido; `pip install kaleido`.") from error
    if browser is None:
        raise ConfigError("Static figures need a browser; Debian: apt-get install chromium.")
    # On a busy machine it logs messages that came in halves; the picture is drawn all the same.
    logging.getLogger("choreographer").setLevel(logging.CRITICAL)
    height = figure.layout.height or 360
    options = {"format": target.suffix[1:], "width": width, "height": height, "scale": scale}
    part = target.with_name(f".part-{target.name}")
    drawn = type(figure)(figure)  # nobody zooms in here: marks on an axis are shown whole
    drawn.update_traces(cliponaxis=False, selector={"mode": "lines+markers"})
    kaleido.write_fig_sync(drawn, path=part, opts=options, kopts={"path": browser})
    return part.replace(target)


_BROWSERS = ("chromium", "google-chrome", "chromium-browser", "chrome")


def blank_figure(title: str, x_title: str, y_title: str) -> go.Figure:
    """An empty figure in the look of all others."""
    axis: dict[str, Any] = {
        "gridcolor": _GRID,
        "linecolor": _AXIS,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": _AXIS,
        "automargin": True,
    }
    return go.Figure(
        layout={
            "template": "none",
            "title": {"text": figure_text(title), "font": {"size": 15}, "x": 0, "xref": "paper"},
            "font": {"family": _FONT, "size": 13, "color": _INK},
            "paper_bgcolor": "#FFFFFF",
            "plot_bgcolor": "#FFFFFF",
            "height": 360,
            "margin": {"l": 60, "r": 16, "t": 48, "b": 92},
            "legend": {
                "orientation": "h",
                "yref": "container",
                "yanchor": "bottom",
                "y": 0.01,
                "x": 0,
                "traceorder": "normal",
            },
            "hoverlabel": {"font": {"family": _FONT}, "bgcolor": "#FFFFFF"},
            "xaxis": {**axis, "title": _axis_title(x_title), "rangemode": "tozero"},
            "yaxis": {**axis, "title": _axis_title(y_title)},
        }
    )


def _axis_title(text: str) -> dict[str, Any]:
    return {"text": figure_text(text), "standoff": 8, "font": {"size": 13}}


def _band(figure: go.Figure, curve: Sequence[Point], colour: str, group: str) -> None:
    known = [(p.x, p.low, p.high) for p in curve if p.low is not None and p.high is not None]
    if len(known) < 2:
        return
    xs = [x for x, _, _ in known]
    figure.add_scatter(
        x=[*xs, *reversed(xs)],
        y=[*(high for _, _, high in known), *(low for _, low, _ in reversed(known))],
        fill="toself",
        fillcolor=_rgba(colour, 0.13),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        legendgroup=group,
        showlegend=False,
    )


def _line(figure: go.Figure, name: str, curve: Sequence[Point], **look: Any) -> None:
    """A curve as a trace, with its interval in the hover text where ``look`` carries it."""
    figure.add_scatter(
        x=[p.x for p in curve],
        y=[p.y for p in curve],
        name=figure_text(name),
        hovertemplate=_hover(name, "customdata" in look and any(p.low is not None for p in curve)),
        **{"mode": "lines", **look},
    )


def interval_bars(curve: Sequence[Point]) -> dict[str, Any]:
    """Markers and error bars of points that have intervals, and the same for the hover text."""
    spans = [(p.y, p.y) if p.low is None or p.high is None else (p.low, p.high) for p in curve]
    return {
        "mode": "lines+markers",
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [high - p.y for p, (_, high) in zip(curve, spans, strict=True)],
            "arrayminus": [p.y - low for p, (low, _) in zip(curve, spans, strict=True)],
            "thickness": 1,
        },
        "customdata": [[p.low, p.high] for p in curve],
    }


def _hover(name: str, interval: bool) -> str:
    limits = " [%{customdata[0]:.3f}, %{customdata[1]:.3f}]" if interval else ""
    return f"{figure_text(name)}<br>%{{x:,}}: %{{y:.3f}}{limits}<extra></extra>"


def figure_text(text: str) -> str:
    """Plotly reads some HTML in texts; names of runs and teachers are not markup."""
    return html.escape(text, quote=False)


def _rgba(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def _source_order(name: str) -> tuple[int, str]:
    return {POLICY: 0, KEPT: 2}.get(name, 1), name
