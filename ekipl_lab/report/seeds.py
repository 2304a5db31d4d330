"""Arms of several seeds: differences paired by seed, of whole sets and of slices.

Two intervals stand beside the difference of a slice, which is small in two ways: few seeds (paired
t over the per-seed differences) and few items (t over the items, each averaged over the seeds).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import SeedComparison, try_compare_seeds
from ekipl_lab.evaluation.summary import Labels, slice_value
from ekipl_lab.report.arms import Arm, common_seeds
from ekipl_lab.report.gather import set_title, sets_of
from ekipl_lab.report.metrics import (
    GREEDY,
    Metric,
    metrics_of,
    quality_rows,
    slice_metric,
    strata,
)
from ekipl_lab.report.tables import QualityColumn, quality_table, slice_suffix
from ekipl_lab.statistics import Interval, holm, paired_t, seeds_needed, spread
from ekipl_lab.tables import DASH, Table, TableCell, limits, percent, points, row
from ekipl_lab.types import EvalRecord

#: Differences (share) for which the number of seeds needed is shown.
TARGETS = (0.01, 0.02, 0.05, 0.10)
POWER = 0.8

Seeded = Mapping[int, Sequence[EvalRecord]]


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One metric of one set, or of one group of it, an arm against the first, at the end.

    ``result`` None says ``why`` there is none. ``p_holm`` is adjusted over the greedy accuracies of
    all sets and arms; of groups, over those of one set and arm; None for other metrics. Of groups
    alone: ``items``, the difference ``over_items`` with a t interval (None for a single item), and
    ``start``, the base's mean before training over the same seeds, None where not measured.
    """

    set: str
    title: str
    metric: Metric
    arm: str
    base: str
    group: str | int = ""
    result: SeedComparison | None = None
    why: str = ""
    p_holm: float | None = None
    items: int = 0
    over_items: Interval | None = None
    start: float | None = None


def compare_arms(arms: Sequence[Arm], by: str = "") -> list[SeedRow]:
    """Every arm against the first on every set, over the seeds that both have.

    Without ``by`` in every metric; a set whose items differ between the runs has a row that says
    so. With ``by`` in every group of it, in greedy accuracy or pass@1; such sets are left out.
    """
    runs = [run for arm in arms for run in arm.runs.values()]
    labels = strata(runs) if by == "stratum" else {}
    rows: list[SeedRow] = []
    for name in sets_of(runs) if labels or by != "stratum" else []:
        metrics = [slice_metric(runs, name)] if by else metrics_of(runs)
        for metric in metrics:
            title = set_title(runs, name) + (slice_suffix(metric) if by else "")
            for arm in arms[1:]:
                head = SeedRow(name, title, metric, arm.label, arms[0].label)
                rows += _compare(head, arms[0], arm, by, labels)
    return rows if by else _with_holm(rows)


def _with_holm(rows: Sequence[SeedRow]) -> list[SeedRow]:
    """The rows, p of the greedy accuracies adjusted over all of them."""
    p_values = [None if one.result is None else one.result.p_value for one in rows]
    tested = [one.metric == GREEDY and p is not None for one, p in zip(rows, p_values, strict=True)]
    chosen = [p for p, test in zip(p_values, tested, strict=True) if test and p is not None]
    adjusted = iter(holm(chosen))
    return [
        replace(one, p_holm=next(adjusted)) if test else one
        for one, test in zip(rows, tested, strict=True)
    ]


def _compare(head: SeedRow, base: Arm, arm: Arm, by: str, labels: Labels) -> list[SeedRow]:
    name, metric = head.set, head.metric
    seeds = [
        seed
        for seed in common_seeds(base, arm)
        if all(one.runs[seed].ends(name, metric.mode) for one in (base, arm))
    ]
    mine, theirs = (
        {seed: one.runs[seed].at(name, "end", metric.mode) for seed in seeds} for one in (arm, base)
    )
    if len(seeds) < 2:
        return []
    try:
        groups = (by,) if by else ()
        found, failed = try_compare_seeds(mine, theirs, [metric.name], groups, labels)
    except DataError as error:  # other items in one of the runs
        return [] if by else [replace(head, why=str(error))]
    if not by:
        return [
            *(replace(head, result=result) for result in found),
            *(replace(head, why=one.why) for one in failed),
        ]
    starts = _starts(base, seeds, head, by, labels)
    of_items = _item_differences(mine, theirs, metric, by, labels)
    rows = []
    for result in found:
        key = result.group[by]
        rows.append(
            replace(
                head,
                group=key,
                result=result,
                p_holm=result.p_holm,
                items=len(of_items[key]),
                over_items=paired_t(of_items[key]) if len(of_items[key]) > 1 else None,
                start=starts.get(key),
            )
        )
    return rows + [
        replace(head, group=one.group[by], why=f"no item scored in both at seed {one.seed}")
        for one in failed
    ]


def _starts(
    base: Arm, seeds: Sequence[int], head: SeedRow, by: str, labels: Labels
) -> dict[str | int, float]:
    """Group -> mean over the seeds of the base's start; empty where one seed has none."""
    starts = [base.runs[seed].at(head.set, "start", head.metric.mode) for seed in seeds]
    found: dict[str | int, list[float]] = {}
    for records in starts if all(starts) else []:
        for key, value in head.metric.rows(records, by, labels).items():
            found.setdefault(key, []).append(value.value)
    return {key: sum(values) / len(values) for key, values in found.items()}


def _item_differences(
    mine: Seeded, theirs: Seeded, metric: Metric, by: str, labels: Labels
) -> dict[str | int, list[float]]:
    """Group -> per item: the mean over seeds of arm minus base, where both were scored."""
    found: dict[str | int, dict[str, list[float]]] = {}
    for seed, records in mine.items():
        other = {record.sample_id: metric.of(record) for record in theirs[seed]}
        for record in records:
            value, base = metric.of(record), other[record.sample_id]
            if value is not None and base is not None:
                items = found.setdefault(slice_value(record, by, labels), {})
                items.setdefault(record.sample_id, []).append(value - base)
    return {
        key: [sum(values) / len(values) for values in items.values()]
        for key, items in found.items()
    }


def _table_rows(
    rows: Sequence[SeedRow], cells: Callable[[SeedRow], list[TableCell]]
) -> list[list[TableCell]]:
    """Rows of cells below a heading for each set."""
    shown: list[list[TableCell]] = []
    titles = dict.fromkeys(one.title for one in rows)
    for title in titles:
        shown += [row(title), *(cells(one) for one in rows if one.title == title)]
    return shown


def over_seeds(arms: Sequence[Arm]) -> Table:
    """Mean over seeds of both arms and the paired difference, its t interval over seeds."""
    base = f"{arms[0].label}, mean"
    return Table(
        f"Over seeds: every arm against {arms[0].label}",
        ["metric", "arm", "seeds", base, "arm, mean", "difference", "each seed"],
        _table_rows(compare_arms(arms), _whole_cells),
        "Percent at the end, means over seeds, of the items that could be scored in both arms of "
        "a seed; differences in points, paired by seed. The interval "
        "is Student's t over the per-seed differences (95 %): it says how far other seeds would "
        "land on these items, which intervals over items do not; it says nothing of other items. "
        "p: paired t test; Holm: adjusted over the greedy accuracies of all sets and arms on this "
        "page.",
    )


def _whole_cells(one: SeedRow) -> list[TableCell]:
    result = one.result
    if result is None:
        return row(one.metric.title, one.arm, *[TableCell(DASH)] * 4, one.why)
    same = result.low == result.high
    small = ["the same at every seed" if same else limits(result.low, result.high)]
    if result.p_value is not None:
        small.append(f"p = {result.p_value:.2g}")
    return row(
        one.metric.title,
        one.arm,
        TableCell(str(len(result.seeds)), ", ".join(map(str, result.seeds))),
        *_means(one, result, small),
        " ".join(map(points, result.differences)),
    )


def _means(one: SeedRow, result: SeedComparison, small: Sequence[str]) -> list[TableCell]:
    """Both means and the difference, below it ``small``, Holm's p and the items left out."""
    low, high = min(result.items), max(result.items)
    items = str(low) if low == high else f"{low} to {high}"
    parts = [
        *small,
        f"Holm p = {one.p_holm:.2g}" if one.p_holm is not None else "",
        f"{items} of {result.total} items scored in both" if low != result.total else "",
    ]
    difference = TableCell(points(result.difference), "; ".join(filter(None, parts)))
    return [TableCell(percent(result.value_b)), TableCell(percent(result.value_a)), difference]


def slices_over_seeds(arms: Sequence[Arm], by: str) -> Table:
    """Means over seeds of both arms in every group, and the paired difference."""
    return Table(
        f"Over seeds: accuracy by {by}",
        [by, "arm", "items", "start", f"{arms[0].label}, mean", "arm, mean", "difference"],
        _table_rows(compare_arms(arms, by), _slice_cells),
        "Percent, means over the seeds that both arms have; at the end, of the items that could be "
        "scored in both arms of a seed. Differences in points. First interval: "
        "Student's t over the per-seed differences, for other seeds on these items. Second: t over "
        "the items, each averaged over the seeds, for other items with these seeds. Read the wider "
        "one. Holm p: paired t test over seeds, adjusted over the groups of a set.",
    )


def _slice_cells(one: SeedRow) -> list[TableCell]:
    result, items = one.result, one.over_items
    if result is None:
        return row(str(one.group), one.arm, *[TableCell(DASH)] * 4, TableCell(DASH, one.why))
    small = [f"{limits(result.low, result.high)} over {len(result.seeds)} seeds"]
    if result.low == result.high:
        small = [f"the same at all {len(result.seeds)} seeds"]
    if items is not None and items.low < items.high:
        small.append(f"{limits(items.low, items.high)} over {one.items} items")
    start = DASH if one.start is None else percent(one.start)
    counts = (TableCell(str(one.items)), TableCell(start))
    return row(str(one.group), one.arm, *counts, *_means(one, result, small))


def power(arms: Sequence[Arm]) -> Table:
    """Seeds a paired t test needs to find a difference with 80 % power, at the spread seen."""
    rows = []
    for one in compare_arms(arms):
        if one.metric == GREEDY and one.result is not None:
            seen = spread(one.result.differences)
            needed = (TableCell(_needed(target, seen)) for target in TARGETS)
            rows.append(row(f"{one.title}; {one.arm}", TableCell(percent(seen)), *needed))
    return Table(
        "Seeds needed",
        ["greedy accuracy", "spread", *(f"{100 * t:.0f} points" for t in TARGETS)],
        rows,
        "Pairs of runs that a two-sided paired t test at 5 % needs to find a true difference of "
        "so many points with 80 % power, if the standard deviation of the per-seed differences is "
        "the one seen here (points). A spread from few seeds is itself uncertain.",
    )


def _needed(target: float, seen: float) -> str:
    if seen <= 0 or math.isnan(seen):
        return DASH
    try:
        return str(seeds_needed(target, seen, POWER))
    except ConfigError:
        return "over 10,000"


def quality_over_seeds(arms: Sequence[Arm]) -> Table:
    """Failures, length, and whether the reasoning is true: mean over seeds, lowest to highest."""
    runs = [run for arm in arms for run in arm.runs.values()]
    columns: dict[str, list[QualityColumn]] = {}
    for name in sets_of(runs):
        start = [quality_rows(run, name, "start") for run in arms[0].runs.values()]
        ends = ([quality_rows(run, name, "end") for run in arm.runs.values()] for arm in arms)
        columns[set_title(runs, name)] = [start, *ends]
    titles = [f"{arm.label} ({len(arm.runs)} seeds), end" for arm in arms]
    return Table(
        "Over seeds: how the answers came about",
        ["completions", "start", *titles],
        quality_table(columns, spread=True),
        "Percent (tokens for length) of greedy completions; of sampled ones where a run has no "
        "others. Mean over the seeds, beside it the lowest and highest seed; no interval.",
    )
