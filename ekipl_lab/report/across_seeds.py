"""The primary comparison where two arms were run with several seeds: paired t over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import SeedComparison, try_compare_seeds
from ekipl_lab.report.arms import Arm, common_seeds
from ekipl_lab.report.cells import DASH, Table, TableCell, limits, percent, points, value_cell
from ekipl_lab.report.gather import RunData, set_title, sets_of
from ekipl_lab.report.tables import Metric, holder, metric_rows, metrics_of
from ekipl_lab.statistics import holm, seeds_needed, spread
from ekipl_lab.types import EvalRecord

#: Differences (share) for which the number of seeds needed is told.
TARGETS = (0.01, 0.02, 0.05, 0.10)
POWER = 0.8


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One metric of one set, an arm against the first; ``result`` None says ``why`` there is none.

    ``p_holm`` is adjusted over the greedy accuracies of all sets and arms, None for other metrics.
    """

    set: str
    title: str
    metric: Metric
    arm: str
    base: str
    result: SeedComparison | None
    p_holm: float | None = None
    why: str = ""


def compare_arms(arms: Sequence[Arm]) -> list[SeedRow]:
    """Every arm against the first, on every set and metric, over the seeds that both have."""
    runs = [run for arm in arms for run in arm.runs.values()]
    rows = []
    for name in sets_of(runs):
        title = set_title(next(run for run in runs if name in run.evaluations), name)
        for metric in metrics_of(runs):
            for arm in arms[1:]:
                row = _compare(arms[0], arm, name, title, metric)
                if row is not None:
                    rows.append(row)
    tested = [i for i, row in enumerate(rows) if _tested(row)]
    adjusted = holm([_p(rows[i]) for i in tested])
    by_index = dict(zip(tested, adjusted, strict=True))
    return [
        SeedRow(r.set, r.title, r.metric, r.arm, r.base, r.result, by_index.get(i), r.why)
        for i, r in enumerate(rows)
    ]


def _tested(row: SeedRow) -> bool:
    return (
        row.metric.name == "accuracy_greedy"
        and row.result is not None
        and row.result.p_value is not None
    )


def _p(row: SeedRow) -> float:
    assert row.result is not None and row.result.p_value is not None
    return row.result.p_value


def _compare(base: Arm, arm: Arm, name: str, title: str, metric: Metric) -> SeedRow | None:
    seeds = [
        seed
        for seed in common_seeds(base, arm)
        if all(one.runs[seed].ends(name, metric.mode) for one in (base, arm))
    ]
    if len(seeds) < 2:
        return None
    first, second = (
        {s: _end(one.runs[s], name, metric.mode) for s in seeds} for one in (arm, base)
    )
    try:
        found, failed = try_compare_seeds(first, second, [metric.name])
    except DataError as error:  # other samples at some seed
        return SeedRow(name, title, metric, arm.label, base.label, None, why=str(error))
    if not found and not failed:  # a k above the number of samples
        return None
    result, why = (found[0], "") if found else (None, failed[0].why)
    return SeedRow(name, title, metric, arm.label, base.label, result, why=why)


def _end(run: RunData, name: str, mode: str) -> list[EvalRecord]:
    ends = run.ends(name, mode)
    return run.records(name, ends[1], mode) if ends else []


def over_seeds(arms: Sequence[Arm]) -> Table:
    """Mean over seeds of both arms and the paired difference, its t interval over seeds."""
    rows: list[list[TableCell]] = []
    last = ""
    for row in compare_arms(arms):
        if row.title != last:
            rows.append([TableCell(row.title, number=False)])
            last = row.title
        head = [TableCell(row.metric.title, number=False), TableCell(row.arm, number=False)]
        if row.result is None:
            rows.append([*head, *[TableCell(DASH)] * 4, TableCell(row.why, number=False)])
            continue
        rows.append([*head, *_cells(row.result, row.p_holm)])
    base = f"{arms[0].label}, mean"
    columns = ["metric", "arm", "seeds", base, "arm, mean", "difference", "each seed"]
    return Table(
        f"Over seeds: every arm against {arms[0].label}",
        columns,
        rows,
        "Percent at the end, means over seeds, of the items that could be scored in both arms of "
        "a seed; differences in points, paired by seed. The interval "
        "is Student's t over the per-seed differences (95 %): it says how far other seeds would "
        "land on these items, which intervals over items do not; it says nothing of other items. "
        "p: paired t test; Holm: adjusted over the greedy accuracies of all sets and arms on this "
        "page.",
    )


def _cells(result: SeedComparison, p_holm: float | None) -> list[TableCell]:
    same = result.low == result.high
    small = "the same at every seed" if same else limits(result.low, result.high)
    if result.p_value is not None:
        small += f"; p = {result.p_value:.2g}"
    if p_holm is not None:
        small += f"; Holm p = {p_holm:.2g}"
    if left_out := items_left_out(result):
        small += f"; {left_out}"
    return [
        TableCell(str(len(result.seeds)), ", ".join(map(str, result.seeds))),
        TableCell(percent(result.value_b)),
        TableCell(percent(result.value_a)),
        TableCell(points(result.difference), small),
        TableCell(" ".join(map(points, result.differences)), number=False),
    ]


def items_left_out(result: SeedComparison) -> str:
    """How many items were compared, where not all could be scored in both arms; else empty."""
    low, high = min(result.items), max(result.items)
    if low == result.total:
        return ""
    return f"{low if low == high else f'{low} to {high}'} of {result.total} items scored in both"


def each_run(runs: Sequence[RunData]) -> Table:
    """Every run by itself at its end: no differences, which belong between runs of one seed."""
    metrics = metrics_of(runs)
    rows: list[list[TableCell]] = []
    for name in sets_of(runs):
        rows.append([TableCell(set_title(holder(runs, name), name), number=False)])
        for run in runs:
            cells, items = [], 0
            for metric in metrics:
                ends = run.ends(name, metric.mode)
                found = metric_rows(run.records(name, ends[1], metric.mode), metric) if ends else []
                items = max([items, *(row.n for row in found)])
                cells.append(value_cell(found[0] if found else None))
            if items:
                head = [
                    TableCell(run.label, number=False),
                    TableCell(str(run.config.get("seed", DASH))),
                ]
                rows.append([*head, TableCell(str(items)), *cells])
    columns = ["run, end", "seed", "items", *(metric.title for metric in metrics)]
    return Table("Every run by itself", columns, rows, "Percent with 95 % intervals over items.")


def power(arms: Sequence[Arm]) -> Table:
    """Seeds a paired t test needs to find a difference with 80 % power, at the spread seen."""
    rows = []
    for row in compare_arms(arms):
        if row.metric.name != "accuracy_greedy" or row.result is None:
            continue
        seen = spread(row.result.differences)
        cells = [TableCell(_needed(target, seen)) for target in TARGETS]
        head = [TableCell(f"{row.title}; {row.arm}", number=False), TableCell(percent(seen))]
        rows.append([*head, *cells])
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
