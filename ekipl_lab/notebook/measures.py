"""Evaluations as figures, and the committed pilots as tables.

Evaluations are given by name: ``plot_metrics({"start": a, "end": b}, ["pass_at_1"])``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ekipl_lab.notebook.face import Evaluation
    from ekipl_lab.plots.figures import Point

#: Metrics as the pilots name them -> as evaluations do.
_PILOTS = {"greedy": "accuracy_greedy", "sampled": "pass_at_1"}


def plot_metrics(
    evaluations: Mapping[str, Evaluation],
    metrics: Sequence[str],
    by: str = "family",
    title: str = "",
) -> Any:
    """A dot with its 95 % interval for each evaluation and metric, by a field of the records."""
    from ekipl_lab.evaluation import find_metric, summarize
    from ekipl_lab.plots.bars import dots
    from ekipl_lab.plots.figures import Point

    series: dict[str, dict[str, Point]] = {}
    for name, evaluation in evaluations.items():
        rows = summarize(evaluation.records, by=(by,), ks=_ks(metrics))
        for metric in metrics:
            label = find_metric(metric).title
            label = label if len(evaluations) == 1 else f"{name}, {label}"
            label = name if len(metrics) == 1 and len(evaluations) > 1 else label
            series[label] = {
                str(row.group[by]): Point(0, row.value, row.low, row.high)
                for row in rows
                if row.metric == metric
            }
    y_title = find_metric(metrics[0]).title if len(metrics) == 1 else "share of items"
    return dots(series, title=title, y_title=y_title)


def plot_pass_at_k(
    evaluations: Mapping[str, Evaluation], ks: Sequence[int], title: str = "pass@k"
) -> Any:
    """pass@k over k with its band, a line for each evaluation."""
    from ekipl_lab.evaluation import summarize
    from ekipl_lab.plots.figures import Point, learning_curves

    curves = {}
    for name, evaluation in evaluations.items():
        rows = {row.metric: row for row in summarize(evaluation.records, ks=ks)}
        found = [(k, rows[f"pass_at_{k}"]) for k in ks]
        curves[name] = [Point(k, row.value, row.low, row.high) for k, row in found]
    figure = learning_curves(curves, title=title, y_title="pass@k", x_title="samples an item, k")
    figure.update_xaxes(tickvals=list(ks), rangemode="normal")
    return figure


def plot_widths(shares: Sequence[float], items: Sequence[int]) -> Any:
    """Half the width of Wilson's interval over the number of items, a line for each true share."""
    from ekipl_lab.plots.figures import Point, learning_curves
    from ekipl_lab.statistics import wilson

    curves = {}
    for share in shares:
        intervals = [(n, wilson(round(share * n), n)) for n in items]
        curves[f"{share:.0%} right"] = [Point(n, (i.high - i.low) / 2) for n, i in intervals]
    figure = learning_curves(
        curves,
        title="How far a measured share may be off",
        y_title="half the 95 % interval",
        x_title="items",
        unit_interval=False,
    )
    figure.update_yaxes(rangemode="tozero", tickformat=".0%")
    return figure


def plot_power(
    difference: float, spreads: Sequence[float], seeds: Sequence[int], alpha: float = 0.05
) -> Any:
    """Chance that the paired t test finds ``difference``, over seeds, a line for each spread."""
    from ekipl_lab.plots.figures import Point, learning_curves
    from ekipl_lab.statistics import power_paired_t

    curves = {
        f"spread of {100 * spread:g} points": [
            Point(n, power_paired_t(n, difference, spread, alpha)) for n in seeds
        ]
        for spread in spreads
    }
    return learning_curves(
        curves,
        title=f"Chance to find a difference of {100 * difference:g} points",
        y_title="power",
        x_title="seeds",
    )


def pilots(name: str) -> pd.DataFrame:
    """Committed pilots (``results/ground/<name>.jsonl``): start and end of every family.

    ``items`` were measured with ``of`` samples each; a row for each seed.
    """
    import pandas as pd

    from ekipl_lab.tracking.store import project_root

    lines = (project_root() / "results" / "ground" / f"{name}.jsonl").read_text(encoding="utf-8")
    rows = []
    for run in map(json.loads, lines.splitlines()):
        changed = ", ".join(run.get("overrides") or ["as the config says"])
        for family, start in run["start"].items():
            for metric, before in start.items():
                after = run["end"][family][metric]
                rows.append(
                    {
                        "pilot": run["name"], "seed": run["seed"], "settings": changed,
                        "family": family,
                        "trained": family in run.get("trained", ()), "metric": metric,
                        "start": before, "end": after, "change": round(after - before, 3),
                        "items": run["measured"]["items"], "of": run["measured"]["of"],
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def over_seeds(pilot: pd.DataFrame) -> pd.DataFrame:
    """One pilot's change in every family and metric: mean and t interval over 2 or more seeds.

    Measuring is of the same items at every seed, so the interval is that of training again.
    """
    import pandas as pd

    from ekipl_lab.statistics import paired_t

    rows = []
    for (family, trained, metric), group in pilot.groupby(["family", "trained", "metric"]):
        interval = paired_t(group["change"].to_numpy())
        rows.append(
            {"family": family, "trained": trained, "metric": metric, "seeds": interval.n,
             "start": group["start"].mean(), "end": group["end"].mean(),
             "change": interval.value, "from": interval.low, "to": interval.high}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index(["family", "trained", "metric"]).round(3)


def plot_pilot(pilot: pd.DataFrame, metric: str, title: str = "") -> Any:
    """The start and the end of every seed by family; greedy shares with their intervals."""
    from ekipl_lab.evaluation import find_metric
    from ekipl_lab.plots.bars import dots

    chosen = pilot[pilot.metric == metric]
    first = chosen[chosen.seed == chosen.seed.min()]
    series = {"start": {str(row.family): _point(row.start, row) for row in first.itertuples()}}
    for seed, rows in chosen.groupby("seed"):
        ends = {str(row.family): _point(row.end, row) for row in rows.itertuples()}
        series[f"end, seed {seed}"] = ends
    y_title = find_metric(_PILOTS.get(metric, metric)).title
    return dots(series, title=title or y_title, y_title=y_title)


def _point(value: float, row: Any) -> Point:
    """A share of a pilot; only of greedy answers does the table say enough for an interval."""
    from ekipl_lab.plots.figures import Point
    from ekipl_lab.statistics import wilson

    if row.metric != "greedy":
        return Point(0, value)
    interval = wilson(round(value * row.items), row.items)
    return Point(0, value, interval.low, interval.high)


def _ks(metrics: Sequence[str]) -> list[int]:
    return [int(m.removeprefix("pass_at_")) for m in metrics if m.startswith("pass_at_")] or [1]
