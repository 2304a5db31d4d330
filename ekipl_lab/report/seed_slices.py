"""Slices where two arms were run with several seeds: by family, stratum, difficulty.

Two intervals stand beside each difference, because a slice is small in two ways: few seeds (paired
t over the per-seed differences) and few items (t over the items, each averaged over the seeds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ekipl_lab.errors import DataError
from ekipl_lab.evaluation import SeedComparison, summarize, try_compare_seeds
from ekipl_lab.evaluation.summary import Labels, slice_value
from ekipl_lab.report.across_seeds import items_left_out
from ekipl_lab.report.arms import Arm, common_seeds
from ekipl_lab.report.breakdown import QUALITY, chain_checks, strata
from ekipl_lab.report.cells import DASH, Table, TableCell, limits, percent, points
from ekipl_lab.report.gather import RunData, set_title, sets_of
from ekipl_lab.report.tables import Metric, has_start, holder, metrics_of, pass_metric
from ekipl_lab.statistics import Interval, paired_t
from ekipl_lab.types import EvalRecord

Seeded = Mapping[int, Sequence[EvalRecord]]


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One group of one set, an arm against the first, at the end of training.

    ``over_items`` is the same difference with a t interval over its items, None for a single item.
    ``start`` is the base's mean before training over the same seeds, None where not measured.
    """

    set: str
    title: str
    metric: str
    arm: str
    base: str
    result: SeedComparison
    items: int
    over_items: Interval | None
    start: float | None


@dataclass(frozen=True, slots=True)
class NoSlice:
    """One group of one set of which no item was scored in both arms at ``seed``."""

    title: str
    arm: str
    group: str | int
    seed: int


def compare_slices(arms: Sequence[Arm], by: str) -> list[SliceRow]:
    """Every arm against the first in every group of ``by``, over the seeds that both have.

    Greedy accuracy where every run measured a set so, else pass@1. Holm's p is adjusted over the
    groups of one set and arm. Sets whose items differ between the runs are left out, and so are
    groups of which no item could be scored in both arms at some seed.
    """
    return [row for row in _all_rows(arms, by) if isinstance(row, SliceRow)]


def _all_rows(arms: Sequence[Arm], by: str) -> list[SliceRow | NoSlice]:
    """Those of ``compare_slices``; for each set and arm, after them the groups left out."""
    runs = [run for arm in arms for run in arm.runs.values()]
    labels = strata(runs) if by == "stratum" else {}
    if by == "stratum" and not labels:
        return []
    rows: list[SliceRow | NoSlice] = []
    for name in sets_of(runs):
        metric = _metric(runs, name)
        title = set_title(holder(runs, name), name) + (
            "" if metric.mode == "greedy" else "; pass@1"
        )
        for arm in arms[1:]:
            rows += _rows(arms[0], arm, name, title, metric, by, labels)
    return rows


def _metric(runs: Sequence[RunData], name: str) -> Metric:
    measured = [run for run in runs if name in run.evaluations]
    greedy = all(run.ends(name, "greedy") for run in measured)
    if greedy or not all(run.ends(name, "sampled") for run in measured):
        return metrics_of(runs)[0]
    return Metric("pass_at_1", "pass@1", "sampled", pass_metric(1))


def _rows(
    base: Arm, arm: Arm, name: str, title: str, metric: Metric, by: str, labels: Labels
) -> list[SliceRow | NoSlice]:
    seeds = [
        seed
        for seed in common_seeds(base, arm)
        if all(one.runs[seed].ends(name, metric.mode) for one in (base, arm))
    ]
    if len(seeds) < 2:
        return []
    mine, theirs = (
        {seed: _records(one.runs[seed], name, metric.mode, 1) for seed in seeds}
        for one in (arm, base)
    )
    try:
        found, failed = try_compare_seeds(mine, theirs, [metric.name], (by,), labels)
    except DataError:
        return []
    starts = _starts(base, seeds, name, metric, by, labels)
    rows: list[SliceRow | NoSlice] = []
    for result in found:
        key = result.group[by]
        differences = _item_differences(mine, theirs, metric, by, key, labels)
        over_items = paired_t(differences) if len(differences) > 1 else None
        head = (name, title, metric.name, arm.label, base.label)
        rows.append(SliceRow(*head, result, len(differences), over_items, starts.get(key)))
    return rows + [NoSlice(title, arm.label, one.group[by], one.seed) for one in failed]


def _records(run: RunData, name: str, mode: str, end: int) -> list[EvalRecord]:
    ends = run.ends(name, mode)
    return run.records(name, ends[end], mode) if ends else []


def _starts(
    base: Arm, seeds: Sequence[int], name: str, metric: Metric, by: str, labels: Labels
) -> dict[str | int, float]:
    if not all(has_start(base.runs[seed], name, metric.mode) for seed in seeds):
        return {}
    found: dict[str | int, list[float]] = {}
    for seed in seeds:
        records = _records(base.runs[seed], name, metric.mode, 0)
        for row in summarize(records, by=(by,), ks=(1,), labels=labels):
            if row.metric == metric.name:
                found.setdefault(row.group[by], []).append(row.value)
    return {key: sum(values) / len(values) for key, values in found.items()}


def _item_differences(
    mine: Seeded, theirs: Seeded, metric: Metric, by: str, key: str | int, labels: Labels
) -> list[float]:
    """Per item of the group: the mean over seeds of arm minus base, where both were scored."""
    found: dict[str, list[float]] = {}
    for seed, records in mine.items():
        other = {record.sample_id: metric.per_item(record) for record in theirs[seed]}
        for record in records:
            value, base = metric.per_item(record), other[record.sample_id]
            if slice_value(record, by, labels) == key and value is not None and base is not None:
                found.setdefault(record.sample_id, []).append(value - base)
    return [sum(values) / len(values) for values in found.values()]


def slices_over_seeds(arms: Sequence[Arm], by: str) -> Table:
    """Means over seeds of both arms in every group, and the paired difference."""
    rows: list[list[TableCell]] = []
    last = ""
    for row in _all_rows(arms, by):
        if row.title != last:
            rows.append([TableCell(row.title, number=False)])
            last = row.title
        if isinstance(row, NoSlice):
            head = [TableCell(str(row.group), number=False), TableCell(row.arm, number=False)]
            why = f"no item scored in both at seed {row.seed}"
            rows.append([*head, *[TableCell(DASH)] * 4, TableCell(DASH, why)])
            continue
        result = row.result
        small = [f"{limits(result.low, result.high)} over {len(result.seeds)} seeds"]
        if result.low == result.high:
            small = [f"the same at all {len(result.seeds)} seeds"]
        if row.over_items is not None and row.over_items.low < row.over_items.high:
            small.append(
                f"{limits(row.over_items.low, row.over_items.high)} over {row.items} items"
            )
        if result.p_holm is not None:
            small.append(f"Holm p = {result.p_holm:.2g}")
        if left_out := items_left_out(result):
            small.append(left_out)
        rows.append(
            [
                TableCell(str(result.group[by]), number=False),
                TableCell(row.arm, number=False),
                TableCell(str(row.items)),
                TableCell(DASH if row.start is None else percent(row.start)),
                TableCell(percent(result.value_b)),
                TableCell(percent(result.value_a)),
                TableCell(points(result.difference), "; ".join(small)),
            ]
        )
    columns = [by, "arm", "items", "start", f"{arms[0].label}, mean", "arm, mean", "difference"]
    return Table(
        f"Over seeds: accuracy by {by}",
        columns,
        rows,
        "Percent, means over the seeds that both arms have; at the end, of the items that could be "
        "scored in both arms of a seed. Differences in points. First interval: "
        "Student's t over the per-seed differences, for other seeds on these items. Second: t over "
        "the items, each averaged over the seeds, for other items with these seeds. Read the wider "
        "one. Holm p: paired t test over seeds, adjusted over the groups of a set.",
    )


def quality_over_seeds(arms: Sequence[Arm]) -> Table:
    """Failures, length, and whether the reasoning is true: mean over seeds, lowest to highest."""
    runs = [run for arm in arms for run in arm.runs.values()]
    rows: list[list[TableCell]] = []
    for name in sets_of(runs):
        columns = [_quality_values(arms[0], name, 0), *(_quality_values(a, name, 1) for a in arms)]
        if not any(columns):
            continue
        rows.append([TableCell(set_title(holder(runs, name), name), number=False)])
        for metric, title in QUALITY.items():
            cells = [column.get(metric, []) for column in columns]
            if any(cells) and (metric != "missing" or any(map(any, cells))):
                shown = [_spread_cell(values, metric == "length") for values in cells]
                rows.append([TableCell(title, number=False), *shown])
    ends = [f"{arm.label} ({len(arm.runs)} seeds), end" for arm in arms]
    return Table(
        "Over seeds: how the answers came about",
        ["completions", "start", *ends],
        rows,
        "Percent (tokens for length) of greedy completions; of sampled ones where a run has no "
        "others. Mean over the seeds, beside it the lowest and highest seed; no interval.",
    )


def _quality_values(arm: Arm, name: str, end: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for run in arm.runs.values():
        mode = "greedy" if run.ends(name, "greedy") else "sampled"
        if run.ends(name, mode) is None or (end == 0 and not has_start(run, name, mode)):
            continue
        records = _records(run, name, mode, end)
        for row in summarize(records, ks=(), chains=chain_checks(records)):
            found.setdefault(row.metric.removesuffix(f"_{mode}"), []).append(row.value)
    return found


def _spread_cell(values: Sequence[float], plain: bool) -> TableCell:
    if not values:
        return TableCell(DASH)
    mean, low, high = (
        f"{value:.1f}" if plain else percent(value)
        for value in (sum(values) / len(values), min(values), max(values))
    )
    return TableCell(mean, f"{low} to {high}" if low != high else "")
