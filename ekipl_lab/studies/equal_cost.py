"""Arms beside the baseline at the same cost, on every axis of cost that the curves have.

A curve is greedy accuracy over cost so far, linear between its points. The common cost of two
arms at a seed is the lower of their last ones; there both are read off, and the differences are
paired over seeds (Student's t). Supervised steps are measured at their end alone: such an arm is
compared where it costs the less of the two, with what the other had by then.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ekipl_lab.evaluation import find_metric
from ekipl_lab.statistics import Interval, paired_t
from ekipl_lab.studies.config import Study
from ekipl_lab.studies.record import CellRecord
from ekipl_lab.tables import DASH, Table, TableCell, limits, percent, points, row

#: Axis of cost -> (heading, keys of a curve's point that add up to it).
AXES: dict[str, tuple[str, tuple[str, ...]]] = {
    "policy_completions": ("policy completions", ("policy_completions",)),
    "tokens": ("tokens generated, teachers' too", ("policy_tokens", "teacher_tokens")),
    "trained_tokens": ("tokens trained on", ("trained_tokens",)),
    "cpu_seconds": ("CPU seconds", ("cpu_seconds",)),
    "wall_seconds": ("wall seconds", ("wall_seconds",)),
}
#: (cost, value) in the order of cost.
Curve = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class AtCost:
    """Arm minus baseline at the common cost; means over the seeds that both have.

    ``reached``: of the ``gains`` seeds at which the baseline ends above where it began, at each
    that gets there, the cost at which the arm first is at the baseline's last value; ``by``: for
    one of them that is where the arm was first measured, so that it was there by then.
    """

    arm: str
    axis: str
    seeds: tuple[int, ...]
    cost: float
    value: float
    base: float
    interval: Interval | None
    reached: tuple[float, ...] = ()
    gains: int = 0
    by: bool = False


def value_at(curve: Curve, cost: float) -> float:
    """The value at a cost within the curve, linear between points."""
    return float(np.interp(cost, [x for x, _ in curve], [y for _, y in curve]))


def reaches(curve: Curve, level: float) -> float | None:
    """The lowest cost at which the curve is at ``level``; None if it never is."""
    before: tuple[float, float] | None = None
    for x, y in curve:
        if y >= level:
            if before is None or y == before[1]:
                return x
            share = (level - before[1]) / (y - before[1])
            return before[0] + share * (x - before[0])
        before = (x, y)
    return None


def curve_of(record: CellRecord, axis: str, metric: str, start: float | None) -> Curve:
    """A cell's curve over an axis, from (0, start); empty where its points lack a key.

    Stages follow one another, so that of points at one cost the later counts. Where supervised
    steps went first the curve begins at its first point: nothing was measured between. A cell
    without points (supervised steps, or none) has its last measurement alone.
    """
    _, keys = AXES[axis]
    if not record.raw["curve"]:
        _, name, what = metric.split("/")
        value = record.raw["final"].get(name, {}).get("all", {}).get(what)
        cost = record.raw["cost"]
        known = value is not None and all(key in cost for key in keys)
        return [(float(sum(cost[key] for key in keys)), float(value))] if known else []
    points_ = [_with_wall(p, record) for p in record.raw["curve"] if metric in p["metrics"]]
    if not points_ or any(key not in point for point in points_ for key in keys):
        return []
    from_start = start is not None and points_[0]["stage"] == 1
    at: dict[float, float] = {0.0: float(start or 0.0)} if from_start else {}
    for point in points_:
        at[float(sum(point[key] for key in keys))] = float(point["metrics"][metric])
    return sorted(at.items())


def _with_wall(point: Mapping[str, Any], record: CellRecord) -> Mapping[str, Any]:
    """A point of a curve; of an older record, its wall seconds in proportion to its CPU seconds."""
    cost = record.raw["cost"]
    if "wall_seconds" in point or not {"wall_seconds", "cpu_seconds"} <= cost.keys():
        return point
    if "cpu_seconds" not in point or not cost["cpu_seconds"]:
        return point
    rate = cost["wall_seconds"] / cost["cpu_seconds"]
    return {**point, "wall_seconds": point["cpu_seconds"] * rate}


def at_equal_cost(
    study: Study,
    records: Sequence[CellRecord],
    task: str,
    metric: str,
    starts: Mapping[int, float],
) -> list[AtCost]:
    """Every arm with a curve beside the baseline, axis by axis; ``starts``: seed -> at no cost."""
    found = []
    for axis in AXES:
        curves = {
            (one.arm, one.seed): curve_of(one, axis, metric, starts.get(one.seed))
            for one in records
            if one.task == task
        }
        for arm in study.arms:
            if arm == study.baseline:
                continue
            pairs = {
                seed: (curves[arm, seed], curves[study.baseline, seed])
                for seed in sorted({one.seed for one in records})
                if _comparable(curves.get((arm, seed)), curves.get((study.baseline, seed)))
            }
            if pairs:
                found.append(_compare(arm, axis, pairs))
    return found


def _comparable(one: Curve | None, other: Curve | None) -> bool:
    """Whether both curves cover their common cost."""
    if not one or not other:
        return False
    cost = min(one[-1][0], other[-1][0])
    return cost > 0 and all(curve[0][0] <= cost for curve in (one, other))


def _compare(arm: str, axis: str, pairs: Mapping[int, tuple[Curve, Curve]]) -> AtCost:
    costs: list[float] = []
    values: list[tuple[float, float]] = []
    for pair in pairs.values():
        cost = min(curve[-1][0] for curve in pair)
        costs.append(cost)
        values.append((value_at(pair[0], cost), value_at(pair[1], cost)))
    differences = [mine - other for mine, other in values]
    gaining = [(mine, other) for mine, other in pairs.values() if _gains(other)]
    reached = [reaches(mine, other[-1][1]) for mine, other in gaining]
    first = [mine[0][0] for mine, _ in gaining]
    return AtCost(
        arm,
        axis,
        tuple(pairs),
        cost=statistics.mean(costs),
        value=statistics.mean(mine for mine, _ in values),
        base=statistics.mean(other for _, other in values),
        interval=paired_t(differences) if len(differences) > 1 else None,
        reached=tuple(cost for cost in reached if cost is not None),
        gains=len(gaining),
        by=any(cost and cost == begin for cost, begin in zip(reached, first, strict=True)),
    )


def _gains(curve: Curve) -> bool:
    """Whether it ends above where it began, as far as that is known."""
    return len(curve) == 1 or curve[-1][1] > curve[0][1]


def equal_cost_table(title: str, metric: str, rows: Sequence[AtCost]) -> Table:
    """Every axis and arm."""
    shown = [
        row(
            AXES[one.axis][0],
            one.arm,
            TableCell(str(len(one.seeds))),
            TableCell(f"{one.cost:,.0f}"),
            TableCell(percent(one.base)),
            TableCell(percent(one.value)),
            TableCell(points(one.value - one.base)),
            TableCell(
                DASH if one.interval is None else limits(one.interval.low, one.interval.high)
            ),
            TableCell(_reached(one)),
        )
        for one in rows
    ]
    return Table(
        title,
        ["at equal", "arm", "seeds", "cost", "baseline", "arm's", "difference", "over seeds",
         "gets to the baseline's last value"],
        shown,
        f"{find_metric(metric).title.capitalize()} of both at the lower of their last costs, read "
        "off their curves, linear between points. An arm of supervised steps alone is measured at "
        "its end, and has a row where it costs less than the other. Wall seconds hold what else "
        "the machine did; at points of records that lack them they are in proportion to CPU "
        "seconds. Last column: at how many seeds the arm gets to where the baseline ends, and the "
        "median cost of these, of the seeds at which the baseline ends above where its curve "
        "begins; *by*: at one of them that is the arm's first measurement.",
    )  # fmt: skip


def _reached(one: AtCost) -> str:
    if not one.gains:
        return DASH
    count, at = f"{len(one.reached)} of {one.gains}", "by" if one.by else "at"
    return f"{count}, {at} {statistics.median(one.reached):,.0f}" if one.reached else count
