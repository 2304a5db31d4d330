"""What each action source does over training, as plotly figures: for MLflow, report and notebooks.

``history`` maps a metric to its (step, value) points, as `ekipl_lab.tracking.metric_history` gives
them; sources are read off it. A metric that was never logged makes no figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from ekipl_lab.plots.figures import (
    Point,
    before_and_after,
    points,
    source_colours,
    source_lines,
    source_shares,
)
from ekipl_lab.plots.metrics import METRICS, Metric, Place, drawn
from ekipl_lab.plots.page import html_page
from ekipl_lab.types import KEPT

History = Mapping[str, Sequence[tuple[float, float]]]


def source_figures(
    history: History,
    place: Place = "sources",
    *,
    prefix: str = "",
    colours: Mapping[str, str] | None = None,
) -> dict[str, go.Figure]:
    """Key of ``METRICS`` -> figure, one line or area per source; one colour for a source in all.

    Shares of a single source are left out. ``prefix``, a run's name, begins every title of a
    report.
    """
    sources = [n.split("/")[1] for n in history if n.startswith("share/") and n.endswith("/kept")]
    colours = colours or source_colours([*sources, KEPT])
    figures = {}
    for key, metric in drawn(place, "shares").items():
        curves = _curves(history, metric, sources)
        if len(curves) > 1:
            titles = {"title": _title(prefix, metric), "y_title": metric.unit}
            figures[key] = source_shares(curves, colours=colours, **titles)
    for key, metric in drawn(place, "lines").items():
        curves = _curves(history, metric, [*sources, KEPT] if "{own}" in metric.name else sources)
        if curves:
            titles = {"title": _title(prefix, metric), "y_title": metric.unit}
            figures[key] = source_lines(curves, colours=colours, **titles)
            if metric.unit.startswith("share"):
                figures[key].update_yaxes(tickformat=".0%")
    if place == "sources" and (spread := zero_spread_figure({"all groups": history})):
        figures["zero_spread"] = spread
    return figures


def zero_spread_figure(histories: Mapping[str, History]) -> go.Figure | None:
    """Groups that teach nothing, before and after selection, for each name that logged them."""
    before, after = METRICS["zero_spread_before"].name, METRICS["zero_spread"].name
    pairs = {
        name: (points(history.get(before, ())), points(history[after]))
        for name, history in histories.items()
        if after in history
    }
    return before_and_after(pairs) if pairs else None


def source_page(history: History, title: str) -> str:
    """All figures as one HTML page that works offline."""
    figures = source_figures(history).values()
    return html_page(title, figures or ["<p>No step has been logged yet.</p>"])


def history_of(entries: Sequence[Mapping[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """A trainer's log entries, each with its ``step``, as a history."""
    history: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float):
                history.setdefault(name, []).append((float(entry["step"]), float(value)))
    return history


def _title(prefix: str, metric: Metric) -> str:
    if prefix:
        return f"{prefix}{metric.report_title or metric.title}"
    return metric.title[0].upper() + metric.title[1:]


def _curves(history: History, metric: Metric, sources: Sequence[str]) -> dict[str, list[Point]]:
    found = {source: history.get(metric.of(source)) for source in sources}
    return {source: points(values) for source, values in found.items() if values}
