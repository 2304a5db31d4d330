"""The tables of a study's page, made of its records and contrasts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from ekipl_lab.evaluation import find_metric
from ekipl_lab.evaluation.metrics import Item
from ekipl_lab.statistics import Interval, clustered_mean, paired_t
from ekipl_lab.studies.config import Study
from ekipl_lab.studies.contrasts import Contrast, runs_of
from ekipl_lab.studies.record import CellRecord
from ekipl_lab.tables import DASH, Table, TableCell, limits, percent, points, row

#: Cost axis -> heading. Means over the cells of an arm.
COSTS = {
    "policy_completions": "policy completions",
    "policy_tokens": "tokens generated",
    "trained_tokens": "tokens trained on",
    "teacher_actions": "teacher actions",
    "teacher_tokens": "teacher tokens",
    "wall_seconds": "wall seconds",
    "cpu_seconds": "CPU seconds",
}


def places(records: Iterable[CellRecord]) -> list[tuple[str, str]]:
    """(task, set) of all records, in order of appearance."""
    return list(dict.fromkeys((one.task, name) for one in records for name in one.records))


def span(one: Contrast) -> str:
    """The wider interval, in words."""
    known = [i for i in (one.over_seeds, one.over_items) if i is not None]
    if not known:
        return "no interval"
    wide = max(known, key=lambda i: i.high - i.low)
    return f"{points(wide.low)} to {points(wide.high)}"


def final_table(study: Study, records: Sequence[CellRecord], task: str, name: str) -> Table:
    """Every arm's metrics of the whole set, over its seeds."""
    extra = ["chain_sound_greedy", "length_greedy"]
    rows = []
    for arm in study.arms:
        runs = runs_of(records, task, arm, name)
        if not runs:
            continue
        cells = [_mean_cell(records, task, arm, name, metric) for metric in study.shown]
        values = [final_values(records, task, arm, name, metric) for metric in extra]
        shown = [_plain(v, share=m != "length_greedy") for m, v in zip(extra, values, strict=True)]
        rows.append(row(arm, TableCell(str(len(runs))), *cells, *shown))
    titles = [find_metric(metric).title for metric in study.shown]
    return Table(
        f"Final measurement: {task}, {name}",
        ["arm", "seeds", *titles, "sound chains, greedy", "tokens, greedy"],
        rows,
        "Percent, means over seeds; beside them the t interval over seeds (over items where there "
        "is one seed, or all are equal).",
    )


def final_values(
    records: Sequence[CellRecord], task: str, arm: str, name: str, metric: str
) -> list[float]:
    """The metric of each seed, from the records' own figures."""
    finals = [r.raw["final"][name]["all"] for r in records
              if (r.task, r.arm) == (task, arm) and name in r.records]  # fmt: skip
    return [final[metric] for final in finals if metric in final]


def _plain(values: Sequence[float], *, share: bool) -> TableCell:
    if not values:
        return TableCell(DASH)
    mean = statistics.mean(values)
    return TableCell(percent(mean) if share else f"{mean:.0f}")


def _mean_cell(
    records: Sequence[CellRecord], task: str, arm: str, name: str, metric: str
) -> TableCell:
    values = final_values(records, task, arm, name, metric)
    if not values:
        return TableCell(DASH)
    same = len(set(values)) == 1  # one seed, or no training: seeds say nothing
    interval = _over(records, task, arm, name, metric) if same else paired_t(values)
    return TableCell(
        percent(statistics.mean(values)),
        f"[{percent(max(0.0, interval.low))}, {percent(min(1.0, interval.high))}]",
    )


def _over(records: Sequence[CellRecord], task: str, arm: str, name: str, metric: str) -> Interval:
    items = next(iter(runs_of(records, task, arm, name).values()))
    chosen = find_metric(metric)
    values = [chosen.value(Item(r)) for r in items if r.mode == chosen.mode]
    return clustered_mean([value for value in values if value is not None])


def difference_table(title: str, rows: Sequence[Contrast]) -> Table:
    """Arm minus baseline in the whole set."""
    shown = [
        row(
            one.arm,
            find_metric(one.metric).title,
            TableCell(percent(one.base)),
            TableCell(percent(one.value)),
            TableCell(points(one.difference)),
            _interval(one.over_seeds),
            _interval(one.over_items),
            TableCell(DASH if one.p_holm is None else f"{one.p_holm:.2g}"),
            "found" if one.found else "",
        )
        for one in rows
        if one.group == "all"
    ]
    return Table(
        title,
        ["arm", "metric", "baseline", "arm's", "difference", "over seeds", "over items",
         "Holm p", "verdict"],
        shown,
        "Percent and points, paired by seed and item. Over seeds: t of the per-seed differences. "
        "Over items: t of the items' differences, each averaged over the seeds.",
    )  # fmt: skip


def _interval(one: Interval | None) -> TableCell:
    return TableCell(DASH if one is None else limits(one.low, one.high))


def group_table(title: str, rows: Sequence[Contrast]) -> Table:
    """The differences of every stratum and family, a column for each metric."""
    metrics = list(dict.fromkeys(one.metric for one in rows))
    by_place: dict[tuple[str, str], dict[str, Contrast]] = {}
    for one in rows:
        by_place.setdefault((one.group, one.arm), {})[one.metric] = one
    shown = []
    for (group, arm), found in sorted(by_place.items()):
        items = next(iter(found.values())).items
        cells = [_group_cell(found.get(metric)) for metric in metrics]
        shown.append(row(group, arm, TableCell(str(items)), *cells))
    titles = [find_metric(metric).title for metric in metrics]
    return Table(
        title,
        ["group", "arm", "items", *titles],
        shown,
        "The arm's percent, its difference from the baseline and the wider interval.",
    )


def _group_cell(one: Contrast | None) -> TableCell:
    if one is None:
        return TableCell(DASH)
    mark = "; found" if one.found else ""
    return TableCell(percent(one.value), f"{points(one.difference)}, {span(one)}{mark}")


def cost_table(study: Study, records: Sequence[CellRecord]) -> Table:
    """What a cell of each arm costs on every axis, measuring apart."""
    shown = []
    for arm in study.arms:
        costs = [record.raw["cost"] for record in records if record.arm == arm]
        if costs:
            means = [statistics.mean(cost[axis] for cost in costs) for axis in COSTS]
            shown.append(row(arm, *(TableCell(f"{mean:,.0f}") for mean in means)))
    return Table(
        "Cost of a cell", ["arm", *COSTS.values()], shown, "Means over the cells of an arm."
    )
