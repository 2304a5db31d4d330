"""The tables of a report over items: headline, slices, how the answers came about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from ekipl_lab.evaluation import compare
from ekipl_lab.evaluation.summary import MetricRow
from ekipl_lab.report.gather import RunData, set_title, sets_of
from ekipl_lab.report.metrics import (
    GREEDY,
    QUALITY,
    Metric,
    first_start,
    in_both,
    items_cell,
    metrics_of,
    paired,
    paired_over,
    quality_rows,
    slice_metric,
    strata,
    value_cell,
)
from ekipl_lab.statistics import holm
from ekipl_lab.tables import DASH, MINUS, Table, TableCell, limits, percent, points, row
from ekipl_lab.types import EvalRecord

#: One column of a table of quality: the metrics of each run that it stands for.
QualityColumn = Sequence[Mapping[str, MetricRow]]


def headline(runs: Sequence[RunData], title: str = "What was measured") -> Table:
    """Start, end and paired difference to the first arm, for each set and metric."""
    first, others = runs[0], runs[1:]
    columns = ["metric", "items", "start", *(f"{run.label}, end" for run in runs)]
    columns += [f"{run.label} {MINUS} {first.label}" for run in others]
    if not others:
        columns.append(f"end {MINUS} start")
    rows: list[list[TableCell]] = []
    holm_of = _holm(runs)
    for name in sets_of(runs):
        rows.append(row(set_title(runs, name)))
        found = (_headline_row(runs, name, metric, holm_of) for metric in metrics_of(runs))
        rows += filter(None, found)
    return Table(
        title,
        columns,
        rows,
        "Percent with 95 % intervals over items; differences in points, paired by item "
        "(t interval). p: McNemar's exact test, one pair of runs, which may say otherwise than the "
        "interval where it is close; Holm p: adjusted over the sets and arms of this table. "
        "Start: step 0 of training, or `--against` of an evaluation, of the first arm that has "
        "one.",
    )


def _headline_row(
    runs: Sequence[RunData], name: str, metric: Metric, holm_of: Mapping[tuple[str, str], float]
) -> list[TableCell] | None:
    start = first_start(runs, name, metric.mode)
    ends = [run.at(name, "end", metric.mode) for run in runs]
    found = [metric.rows(records).get("") for records in (start, *ends)]
    known = [value for value in found if value is not None]
    if not known:  # not measured, or a k above the number of samples
        return None
    first = runs[0]
    if len(runs) == 1:
        pairs = [(first, ends[0], start, (learned(name, first.label), lost(name, first.label)))]
    else:
        pairs = [
            (run, end, ends[0], (beats(name, run, first), beats(name, first, run)))
            for run, end in zip(runs[1:], ends[1:], strict=True)
        ]
    differences = [
        difference(end, base, metric, titles, holm_of.get((name, run.label)))
        for run, end, base, titles in pairs
    ]
    return row(metric.title, items_cell(known), *map(value_cell, found), *differences)


def _holm(runs: Sequence[RunData]) -> dict[tuple[str, str], float]:
    """(set, arm) -> McNemar's p against the first arm, adjusted over all sets and arms.

    A single arm is compared with its own start.
    """
    found: dict[tuple[str, str], float] = {}
    for name in sets_of(runs):
        first = runs[0].at(name, "start" if len(runs) == 1 else "end", "greedy")
        for run in runs[1:] or runs:
            both = in_both(run.at(name, "end", "greedy"), first, GREEDY)
            if len(both[0]) > 1:
                p = compare(*both).p_value
                assert p is not None
                found[name, run.label] = p
    return dict(zip(found, holm(list(found.values())), strict=True)) if len(found) > 1 else {}


def beats(name: str, winner: RunData, loser: RunData) -> str:
    """Title of the items of a set that one arm gets right and the other wrong."""
    return f"{name}: {winner.label} right, {loser.label} wrong"


def learned(name: str, label: str) -> str:
    """Title of the items that are right at the end and were wrong at the start."""
    return f"{name}: {label} learned it"


def lost(name: str, label: str) -> str:
    """Title of the items that are wrong at the end and were right at the start."""
    return f"{name}: {label} lost it"


def anchor(title: str) -> str:
    """The place of a list of items on the page."""
    return "items-" + hashlib.sha256(title.encode()).hexdigest()[:12]


def difference(
    records: Sequence[EvalRecord],
    base: Sequence[EvalRecord],
    metric: Metric,
    titles: tuple[str, str],
    p_holm: float | None,
) -> TableCell:
    """``records`` minus ``base``, paired over the items that both have.

    ``titles`` are those of the lists of items won and lost, which greedy counts link to.
    """
    interval = paired(records, base, metric)
    if interval is None:
        return TableCell(DASH)
    value, low, high = interval.value, interval.low, interval.high
    small = limits(low, high) if low < high else "the same on every item"
    small = "; ".join(filter(None, (small, paired_over(interval, records))))
    if metric.mode != "greedy":
        return TableCell(points(value), small)
    result = compare(*in_both(records, base, metric))
    small += f"; p = {result.p_value:.2g}" if result.p_value is not None else ""
    small += f"; Holm p = {p_holm:.2g}" if p_holm is not None else ""
    counts = ((len(result.wins), "won"), (len(result.losses), "lost"))
    links = tuple(
        (f"{count} {word}", anchor(title) if count else "")
        for (count, word), title in zip(counts, titles, strict=True)
    )
    return TableCell(points(value), small, links=links)


def each_run(runs: Sequence[RunData]) -> Table:
    """Every run by itself at its end: no differences, which belong between runs of one seed."""
    metrics = metrics_of(runs)
    rows: list[list[TableCell]] = []
    for name in sets_of(runs):
        rows.append(row(set_title(runs, name)))
        for run in runs:
            values = [metric.rows(run.at(name, "end", metric.mode)).get("") for metric in metrics]
            items = max((value.n for value in values if value is not None), default=0)
            if items:
                head = (TableCell(str(run.config.get("seed", DASH))), TableCell(str(items)))
                rows.append(row(run.label, *head, *map(value_cell, values)))
    columns = ["run, end", "seed", "items", *(metric.title for metric in metrics)]
    return Table("Every run by itself", columns, rows, "Percent with 95 % intervals over items.")


def slices(runs: Sequence[RunData], by: str) -> Table:
    """Accuracy by family, stratum or difficulty: start and the end of each arm.

    Strata are by the success of each family at the start; without a start there are none. Start
    is that of the first run that measured it.
    """
    labels = strata(runs) if by == "stratum" else {}
    rows: list[list[TableCell]] = []
    for name in sets_of(runs) if labels or by != "stratum" else []:
        metric = slice_metric(runs, name)
        ends = (run.at(name, "end", metric.mode) for run in runs)
        parts = (first_start(runs, name, metric.mode), *ends)
        columns = [metric.rows(records, by, labels) for records in parts]
        keys = dict.fromkeys(key for column in columns for key in column)
        if keys:
            rows.append(row(set_title(runs, name) + slice_suffix(metric)))
        for key in keys:
            count = items_cell([column[key] for column in columns if key in column])
            values = (value_cell(column.get(key)) for column in columns)
            rows.append(row(str(key), count, *values))
    ends_of = [f"{run.label}, end" for run in runs]
    return Table(f"Accuracy by {by}", [by, "items", "start", *ends_of], rows)


def slice_suffix(metric: Metric) -> str:
    """What a heading of slices adds where they do not show greedy accuracy."""
    return "" if metric.mode == "greedy" else f"; {metric.title}"


def quality(runs: Sequence[RunData]) -> Table:
    """Failures, length, and whether the reasoning is true; greedy completions, else sampled."""
    columns: dict[str, list[QualityColumn]] = {}
    for name in sets_of(runs):
        starts = [found for run in runs if (found := quality_rows(run, name, "start"))]
        ends = ([quality_rows(run, name, "end")] for run in runs)
        columns[set_title(runs, name)] = [starts[:1], *ends]
    return Table(
        "How the answers came about",
        ["completions", "start", *(f"{run.label}, end" for run in runs)],
        quality_table(columns),
        "Of greedy completions; of sampled ones where a run has no others. Lengths are characters "
        "where a source has no tokens (an oracle).",
    )


def quality_table(
    sets: Mapping[str, Sequence[QualityColumn]], spread: bool = False
) -> list[list[TableCell]]:
    """Rows of the metrics that some column has: with intervals, or the ``spread`` of the runs."""
    rows: list[list[TableCell]] = []
    for title, columns in sets.items():
        if not any(any(column) for column in columns):
            continue
        rows.append(row(title))
        for metric, name in QUALITY.items():
            found = [[one[metric] for one in column if metric in one] for column in columns]
            values = [value for column in found for value in column]
            if values and (metric != "missing" or any(value.value for value in values)):
                plain = metric == "length"
                if spread or plain:
                    cells = [_spread_cell([one.value for one in part], plain) for part in found]
                else:
                    cells = [value_cell(next(iter(part), None)) for part in found]
                rows.append(row(name, *cells))
    return rows


def _spread_cell(values: Sequence[float], plain: bool) -> TableCell:
    """Mean, lowest and highest of the runs; ``plain`` is no share."""
    if not values:
        return TableCell(DASH)
    mean, low, high = (
        f"{value:.1f}" if plain else percent(value)
        for value in (sum(values) / len(values), min(values), max(values))
    )
    return TableCell(mean, f"{low} to {high}" if low != high else "")
