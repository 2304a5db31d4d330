"""The headline of a report, made of EvalRecords; used by the page and the terminal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ekipl_lab.evaluation import compare, summarize
from ekipl_lab.evaluation.metrics import success_counts
from ekipl_lab.evaluation.summary import MetricRow
from ekipl_lab.report.cells import DASH, MINUS, Table, TableCell, limits, points, value_cell
from ekipl_lab.report.gather import RunData, set_title, sets_of
from ekipl_lab.statistics import holm, paired_t, pass_at_k
from ekipl_lab.types import EvalRecord

#: Value of one item under a metric; None where it is undefined.
ItemValue = Callable[[EvalRecord], float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """A headline metric: how it is called, in which mode it is measured, its value per item."""

    name: str
    title: str
    mode: str
    per_item: ItemValue = field(repr=False)


def metrics_of(runs: Sequence[RunData]) -> list[Metric]:
    """Greedy accuracy, then pass@k for every k that some run asked for."""
    ks = sorted({k for run in runs for k in run.sampled_k})
    greedy = Metric("accuracy_greedy", "greedy accuracy", "greedy", _share)
    return [greedy, *(Metric(f"pass_at_{k}", f"pass@{k}", "sampled", pass_metric(k)) for k in ks)]


def headline(runs: Sequence[RunData]) -> Table:
    """Start, end and paired difference to the first arm, for each set and metric."""
    first, others = runs[0], runs[1:]
    columns = ["metric", "items", "start", *(f"{run.label}, end" for run in runs)]
    columns += [f"{run.label} {MINUS} {first.label}" for run in others]
    if not others:
        columns.append(f"end {MINUS} start")
    rows: list[list[TableCell]] = []
    holm_of = _holm(runs)
    for name in sets_of(runs):
        rows.append([TableCell(set_title(holder(runs, name), name), number=False)])
        for metric in metrics_of(runs):
            row = _headline_row(runs, name, metric, holm_of)
            if row:
                rows.append(row)
    return Table(
        "What was measured",
        columns,
        rows,
        "Percent with 95 % intervals over items; differences in points, paired by item "
        "(t interval). p: McNemar's exact test, one pair of runs; Holm p: adjusted over the sets "
        "and arms of this table. Start: step 0 of training, or `--against` of an evaluation, of "
        "the first arm that has one.",
    )


def _headline_row(
    runs: Sequence[RunData], name: str, metric: Metric, holm_of: Mapping[tuple[str, str], float]
) -> list[TableCell] | None:
    ends = [run.ends(name, metric.mode) for run in runs]
    if not any(ends):
        return None
    started = starter(runs, name, metric.mode)
    before = started.records(name, 0, metric.mode) if started else []
    last = [
        run.records(name, steps[1], metric.mode) if steps else []
        for run, steps in zip(runs, ends, strict=True)
    ]
    found = [next(iter(metric_rows(records, metric)), None) for records in (before, *last)]
    known = [row for row in found if row is not None]
    if not known:  # a k above the number of samples
        return None
    row = [
        TableCell(metric.title, number=False),
        TableCell(str(known[0].n)),
        *map(value_cell, found),
    ]
    first = runs[0]
    if len(runs) == 1:
        titles = (learned(name, first.label), lost(name, first.label))
        p_holm = holm_of.get((name, first.label)) if metric.mode == "greedy" else None
        row.append(difference(last[0], before, metric, titles, p_holm))
    return row + [
        difference(
            records,
            last[0],
            metric,
            (beats(name, run, first), beats(name, first, run)),
            holm_of.get((name, run.label)) if metric.mode == "greedy" else None,
        )
        for run, records in zip(runs[1:], last[1:], strict=True)
    ]


def _holm(runs: Sequence[RunData]) -> dict[tuple[str, str], float]:
    """(set, arm) -> McNemar's p against the first arm, adjusted over all sets and arms.

    A single arm is held against its own start.
    """
    found: dict[tuple[str, str], float] = {}
    for name in sets_of(runs):
        first = _greedy(runs[0], name, 0 if len(runs) == 1 else 1)
        for run in runs[1:] or runs:
            both = _common(_greedy(run, name, 1), first)
            if len(both[0]) > 1:
                p = compare(*both).p_value
                assert p is not None
                found[name, run.label] = p
    return dict(zip(found, holm(list(found.values())), strict=True)) if len(found) > 1 else {}


def _greedy(run: RunData, name: str, end: int) -> list[EvalRecord]:
    """Greedy records of the start (0) or the end (1) of a run; empty where there is none."""
    steps = run.ends(name, "greedy")
    if steps is None or (end == 0 and not has_start(run, name, "greedy")):
        return []
    return run.records(name, steps[end], "greedy")


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
    titles: tuple[str, str] = ("", ""),
    p_holm: float | None = None,
) -> TableCell:
    """``records`` minus ``base``, paired over the items that both have.

    ``titles`` are those of the lists of items won and lost, which greedy counts link to.
    """
    pair = paired(records, base, metric)
    if pair is None:
        return TableCell(DASH)
    value, low, high, _ = pair
    small = limits(low, high) if low < high else "the same on every item"
    if metric.mode == "greedy":
        result = compare(*_common(records, base))
        small += f"; p = {result.p_value:.2g}" if result.p_value is not None else ""
        small += f"; Holm p = {p_holm:.2g}" if p_holm is not None else ""
        counts = ((len(result.wins), "won"), (len(result.losses), "lost"))
        links = tuple(
            (f"{count} {word}", anchor(title) if count and title else "")
            for (count, word), title in zip(counts, titles, strict=True)
        )
        return TableCell(points(value), small, links=links)
    return TableCell(points(value), small)


def paired(
    records: Sequence[EvalRecord], base: Sequence[EvalRecord], metric: Metric
) -> tuple[float, float, float, int] | None:
    """(difference, low, high, items), t over items; None with fewer than two common items."""
    theirs = {record.sample_id: metric.per_item(record) for record in base}
    differences = [
        mine - other
        for record in records
        if (mine := metric.per_item(record)) is not None
        and (other := theirs.get(record.sample_id)) is not None
    ]
    if len(differences) < 2:
        return None
    interval = paired_t(differences)
    return interval.value, interval.low, interval.high, len(differences)


def has_start(run: RunData, name: str, mode: str) -> bool:
    """Whether a run measured the set at its start: at step 0 of training, or ``--against``."""
    ends = run.ends(name, mode)
    return ends is not None and ends[0] == 0


def starter(runs: Sequence[RunData], name: str, mode: str) -> RunData | None:
    """The first run that measured the set at its start; None where no run did."""
    return next((run for run in runs if has_start(run, name, mode)), None)


def metric_rows(records: Sequence[EvalRecord], metric: Metric) -> list[MetricRow]:
    """The metric of all these records with its interval; empty where it is undefined."""
    ks = [int(metric.name.rsplit("_", 1)[1])] if metric.mode == "sampled" else []
    return [row for row in summarize(records, ks=ks) if row.metric == metric.name]


def _common(
    a: Sequence[EvalRecord], b: Sequence[EvalRecord]
) -> tuple[list[EvalRecord], list[EvalRecord]]:
    """The records of items that both have and that could be scored in both."""
    scored = [{r.sample_id for r in part if _share(r) is not None} for part in (a, b)]
    both = scored[0] & scored[1]
    return [r for r in a if r.sample_id in both], [r for r in b if r.sample_id in both]


def holder(runs: Sequence[RunData], name: str) -> RunData:
    """The first run that was measured on a set."""
    return next(run for run in runs if name in run.evaluations)


def _share(record: EvalRecord) -> float | None:
    known, right = success_counts(record)
    return right / known if known else None


def pass_metric(k: int) -> ItemValue:
    """pass@k of one item."""

    def value(record: EvalRecord) -> float | None:
        known, right = success_counts(record)
        return pass_at_k(known, right, k) if known >= k else None

    return value
