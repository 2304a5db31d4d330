"""What each action source does over training, as plotly figures: for MLflow, report and notebooks.

``history`` maps a metric to its (step, value) points, as `ekipl_lab.tracking.metric_history` gives
them; sources are read off it. A metric that was never logged makes no figure.
"""

from __future__ import annotations

import html
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
from ekipl_lab.types import KEPT, POLICY

History = Mapping[str, Sequence[tuple[float, float]]]

#: Name -> (title, what is measured, metric of a source). {source} is policy or a teacher's id,
#: {own} is policy or teacher/<id>.
LINES = {
    "reward": ("Reward of candidates", "mean total reward", "{own}/reward"),
    "accuracy": ("Right candidates", "share right", "{own}/accuracy"),
    "advantage": ("Advantage held", "sum of |A| per step", "advantage/{source}/abs_sum"),
    "gradient": ("Gradient by source", "gradient norm", "gradient/{source}/norm"),
    "weight": ("Weight of tokens", "mean weight", "tokens/{source}/mean_weight"),
    "max_weight": ("Largest weight", "largest weight of a token", "tokens/{source}/max_weight"),
    "effective": (
        "Effective sample size",
        "(sum w)² / (n sum w²)",
        "tokens/{source}/effective_share",
    ),
    "clipped": ("Clipped tokens", "share of tokens", "tokens/{source}/clipped"),
    "logp": ("Likelihood of tokens", "mean log pi", "tokens/{source}/mean_logp"),
    "kl": ("KL to the reference", "mean per token", "tokens/{source}/kl"),
    "length": ("Length", "mean tokens", "length/{source}"),
    "tokens": ("Tokens written by teachers", "tokens per step", "teacher/{source}/tokens"),
    "usd": ("Price of the teacher actions used", "USD per step", "teacher/{source}/usd"),
    "paid": ("Paid to teachers", "USD per step", "teacher/{source}/cost_usd"),
    "cached": ("Answers from the cache", "share of actions", "teacher/{source}/cached"),
    "latency": ("Latency of teachers", "mean seconds per action", "teacher/{source}/latency"),
}
#: Name -> (title, y axis, metric): shares that add up to 1.
SHARES = {
    "share_candidates": ("Candidates by source", "share", "share/{source}/candidates"),
    "share_kept": ("Kept actions by source", "share of kept actions", "share/{source}/kept"),
}


def source_figures(history: History) -> dict[str, go.Figure]:
    """Name -> figure, one line or area per source; the same colour for a source in all."""
    names = [name.split("/") for name in history]
    sources = [parts[1] for parts in names if parts[0] == "share" and parts[-1] == "candidates"]
    colours = source_colours([*sources, KEPT])
    figures = {}
    for name, (title, y_title, metric) in SHARES.items():
        curves = _curves(history, sources, metric)
        if curves:
            figures[name] = source_shares(curves, title=title, y_title=y_title, colours=colours)
    for name, (title, y_title, metric) in LINES.items():
        curves = _curves(history, sources, metric)
        kept = history.get(f"kept/{name}", ()) if metric.startswith("{own}") else ()
        if kept:
            curves[KEPT] = points(kept)
        if curves:
            figures[name] = source_lines(curves, title=title, y_title=y_title, colours=colours)
    spread = [points(history.get(f"groups/zero_spread_{when}", ())) for when in ("before", "after")]
    if all(spread):
        figures["zero_spread"] = before_and_after({"all groups": (spread[0], spread[1])})
    return figures


def source_page(history: History, title: str) -> str:
    """All figures as one HTML page that works offline."""
    figures = list(source_figures(history).values())
    drawn = [
        figure.to_html(full_html=False, include_plotlyjs=index == 0)
        for index, figure in enumerate(figures)
    ]
    head = f"<meta charset='utf-8'><title>{html.escape(title)}</title>"
    body = "\n".join(drawn) or "<p>No step has been logged yet.</p>"
    return f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"


def history_of(entries: Sequence[Mapping[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """A trainer's log entries, each with its ``step``, as a history."""
    history: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float):
                history.setdefault(name, []).append((float(entry["step"]), float(value)))
    return history


def _curves(history: History, sources: Sequence[str], metric: str) -> dict[str, list[Point]]:
    found = {}
    for source in sources:
        own = source if source == POLICY else f"teacher/{source}"
        name = metric.format(source=source, own=own)
        if history.get(name):
            found[source] = points(history[name])
    return found
