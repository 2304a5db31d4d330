"""Plotly figures over names instead of numbers: estimates by family, parts of a whole."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from ekipl_lab.plots.figures import Point, blank_figure, figure_text, interval_bars

#: Okabe and Ito's colours and four more, told apart by every kind of colour vision.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8A6D00", "#999999",
    "#882255", "#332288", "#DDCC77", "#222222",
)  # fmt: skip
_MARKERS = ("circle", "square", "diamond", "triangle-up", "circle-open", "x")


def dots(
    series: Mapping[str, Mapping[str, Point]], *, title: str, y_title: str, x_title: str = ""
) -> go.Figure:
    """A dot with its interval for each name (left to right) and each series (side by side).

    ``Point.x`` is not used. y runs from 0 to 1: the values are shares.
    """
    names = list(dict.fromkeys(name for values in series.values() for name in values))
    figure = blank_figure(title, x_title, y_title)
    apart = min(0.16, 0.8 / max(1, len(series)))  # no dot stands nearer to another name's
    for index, (label, values) in enumerate(series.items()):
        shift = apart * (index - (len(series) - 1) / 2)
        look = {
            "color": COLOURS[index % len(COLOURS)],
            "symbol": _MARKERS[index % len(_MARKERS)],
            "size": 10,
        }
        figure.add_scatter(
            x=[names.index(name) + shift for name in values],
            y=[point.y for point in values.values()],
            name=figure_text(label),
            marker=look,
            hovertemplate="%{y:.3f}<extra>" + figure_text(label) + "</extra>",
            **interval_bars(list(values.values())),
        )
    figure.update_traces(mode="markers")
    places, texts = list(range(len(names))), [figure_text(name) for name in names]
    figure.update_xaxes(
        tickvals=places, ticktext=texts, range=[-0.6, len(names) - 0.4], showgrid=False
    )
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".1f", dtick=0.2)
    return figure


def stacks(
    bars: Mapping[str, Mapping[str, float]],
    *,
    title: str,
    x_title: str,
    limits: Mapping[str, float] | None = None,
) -> go.Figure:
    """A lying bar for each name, its parts one behind the other; ``limits`` are marked on it."""
    names = list(bars)
    figure = blank_figure(title, x_title, "")
    parts = list(dict.fromkeys(part for values in bars.values() for part in values))
    for index, part in enumerate(parts):
        figure.add_bar(
            y=names,
            x=[bars[name].get(part, 0.0) for name in names],
            orientation="h",
            name=figure_text(part),
            marker={"color": COLOURS[index % len(COLOURS)]},
            hovertemplate=f"{figure_text(part)} %{{x:.2f}}<extra>%{{y}}</extra>",
        )
    if limits:
        mark = {"symbol": "line-ns-open", "size": 34, "color": "#202124", "line": {"width": 3}}
        figure.add_scatter(
            y=list(limits), x=list(limits.values()), mode="markers", name="there is", marker=mark
        )
    figure.update_layout(barmode="stack", height=190 + 46 * len(names))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure
