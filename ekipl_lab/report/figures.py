"""Figures of a report, each with the sentence that says how to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ekipl_lab.plots import figures as plots
from ekipl_lab.plots.figures import Curves, Difference, Point
from ekipl_lab.plots.metrics import METRICS, SUPERVISED_SECONDS, drawn
from ekipl_lab.plots.sources import History, source_figures, zero_spread_figure
from ekipl_lab.report.gather import RunData, set_title, sets_of
from ekipl_lab.report.metrics import GREEDY, Metric, end_differences, metrics_of
from ekipl_lab.statistics import Interval
from ekipl_lab.types import KEPT, POLICY

#: Curves of single training steps are noisy: the mean of this share of all steps is drawn.
SMOOTHING = 1 / 20


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure and what it shows, in one sentence."""

    figure: Any
    text: str


def accuracy_figures(runs: Sequence[RunData]) -> list[Shown]:
    """Greedy accuracy and pass@k (smallest and largest k with two points) by step, per set."""
    shown = []
    metrics = metrics_of(runs)
    for name in sets_of(runs):
        for metric in (metrics[0], *metrics[1:2], *metrics[2:][-1:]):
            curves = metric_curves(runs, name, metric)
            if curves:
                title = f"{metric.title} on {name}"
                figure = plots.learning_curves(
                    curves, title=title, y_title=metric.title, arms=[run.label for run in runs]
                )
                shown.append(Shown(figure, f"{set_title(runs, name)}. Bands: 95 % over items."))
    return shown


def metric_curves(runs: Sequence[RunData], name: str, metric: Metric) -> Curves:
    """Arm -> the metric at every step at which the set was measured in its mode."""
    curves: dict[str, list[Point]] = {}
    for run in runs:
        for step in run.evaluations.get(name, {}):
            for row in metric.rows(run.records(name, step, metric.mode)).values():
                point = Point(step, row.value, row.low, row.high)
                curves.setdefault(run.label, []).append(point)
    return curves


def difference_figures(runs: Sequence[RunData]) -> list[Shown]:
    """Each further arm minus the first, at the end, for every set and metric."""
    base, shown = runs[0], []
    for run in runs[1:]:
        rows = [
            Difference(f"{name}, {metric.title}", *_in_points(found), found.n)
            for name, metric, found in end_differences(run, base, sets_of(runs), metrics_of(runs))
        ]
        if rows:
            title = f"{run.label} minus {base.label} at the end"
            figure = plots.differences(rows, title=title, x_title="paired difference (points)")
            shown.append(
                Shown(
                    figure,
                    "Right of zero: the first named is better on these items. "
                    "95 % t intervals over items of one pair of runs.",
                )
            )
    return shown


def _in_points(found: Interval) -> tuple[float, float, float]:
    return 100 * found.value, 100 * found.low, 100 * found.high


def training_figures(runs: Sequence[RunData]) -> list[Shown]:
    """Zero-spread groups of all arms, then sources, their shares and rewards for each."""
    histories = {run.label: _smooth(run) for run in runs}
    spread = zero_spread_figure(histories)
    shown = [
        Shown(
            figure,
            "A group whose kept rewards are all equal has no advantage and teaches nothing. "
            "Before: the policy's own actions alone.",
        )
        for figure in ([spread] if spread else [])
    ]
    colours = plots.source_colours({POLICY, KEPT, *(t for run in runs for t in run.teachers)})
    for label, history in histories.items():
        figures = source_figures(history, "report", prefix=f"{label}: ", colours=colours)
        for key, figure in figures.items():
            meaning = METRICS[key].meaning
            shown.append(Shown(figure, f"{meaning[0].upper()}{meaning[1:]}."))
    return shown


def _smooth(run: RunData) -> History:
    """The run's curves, each value the mean of the last so many steps."""
    history = {}
    for name, values in run.history.items():
        curve = plots.points(values)
        smoothed = plots.smooth(curve, max(1, round(len(curve) * SMOOTHING)))
        history[name] = [(point.x, point.y) for point in smoothed]
    return history


def cost_figures(runs: Sequence[RunData]) -> list[Shown]:
    """Greedy accuracy on the first set against each axis of cost, for arms that had the cost."""
    shown = []
    for name in sets_of(runs)[:1]:
        curves = metric_curves(runs, name, GREEDY)
        for axis, metric in drawn("report", "axis").items():
            moved = {
                run.label: _against(curves[run.label], cost_by_step(run, axis))
                for run in runs
                if run.label in curves and cost_by_step(run, axis)
            }
            moved = {arm: curve for arm, curve in moved.items() if curve[-1].x > 0}
            if moved:
                figure = plots.learning_curves(
                    moved,
                    title=f"greedy accuracy on {name}",
                    y_title="greedy accuracy",
                    x_title=metric.title,
                    arms=[run.label for run in runs],
                )
                shown.append(Shown(figure, f"The same evaluations against {metric.title}."))
    return shown


def cost_by_step(run: RunData, axis: str) -> dict[int, float]:
    """Step -> cost so far; ``seconds`` adds up the time of training steps."""
    if axis == "seconds" and (so_far := run.history.get(SUPERVISED_SECONDS)):
        return dict(so_far)
    history = run.history.get(METRICS[axis].name, ())
    values = [value for _, value in history]
    sums = accumulate(values) if axis == "seconds" else values
    return {step: total for (step, _), total in zip(history, sums, strict=True)}


def _against(curve: Sequence[Point], costs: Mapping[int, float]) -> list[Point]:
    moved = []
    for point in curve:
        known = [step for step in costs if step <= point.x]
        cost = costs[max(known)] if known else 0.0
        moved.append(Point(cost, point.y, point.low, point.high))
    return moved
