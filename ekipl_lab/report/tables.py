"""Tables of a report: plain cells, made of EvalRecords, used by the page and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ekipl_lab.evaluation import check_chains, compare, summarize
from ekipl_lab.evaluation.chains import ChainCheck
from ekipl_lab.evaluation.summary import MetricRow, success_counts
from ekipl_lab.report.gather import RunData, rebuild, set_title, sets_of
from ekipl_lab.statistics import paired_t, pass_at_k
from ekipl_lab.types import EvalRecord

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value and, smaller, what belongs to it: intervals, counts, parted by ``; ``."""

    text: str
    small: str = ""
    number: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of cells; a row of one cell is a heading within the table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


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
    return [greedy, *(Metric(f"pass_at_{k}", f"pass@{k}", "sampled", _pass(k)) for k in ks)]


def headline(runs: Sequence[RunData]) -> Table:
    """Start, end and paired difference to the first arm, for each set and metric."""
    first, others = runs[0], runs[1:]
    columns = ["metric", "items", "start", *(f"{run.label}, end" for run in runs)]
    columns += [f"{run.label} {MINUS} {first.label}" for run in others]
    if not others:
        columns.append(f"end {MINUS} start")
    rows: list[list[Cell]] = []
    for name in sets_of(runs):
        rows.append([Cell(set_title(_holder(runs, name), name), number=False)])
        for metric in metrics_of(runs):
            row = _headline_row(runs, name, metric)
            if row:
                rows.append(row)
    return Table(
        "What was measured",
        columns,
        rows,
        "Percent with 95 % intervals over items; differences in points, paired by item "
        "(t interval). p: McNemar's exact test, one pair of runs. Start is the warm start.",
    )


def _headline_row(runs: Sequence[RunData], name: str, metric: Metric) -> list[Cell] | None:
    ends = [run.ends(name, metric.mode) for run in runs]
    if not any(ends):
        return None
    starts = [
        row
        for run, steps in zip(runs, ends, strict=True)
        if steps
        for row in _rows(run.records(name, steps[0], metric.mode), metric)
    ]
    if not starts:  # a k above the number of samples
        return None
    row = [Cell(metric.title, number=False), Cell(str(starts[0].n)), _value(starts[0])]
    last = [run.records(name, s[1], metric.mode) if s else [] for run, s in zip(runs, ends)]  # noqa: B905
    row += [_value(next(iter(_rows(records, metric)), None)) for records in last]
    if len(runs) == 1 and ends[0]:
        row.append(difference(last[0], runs[0].records(name, ends[0][0], metric.mode), metric))
    return row + [difference(records, last[0], metric) for records in last[1:]]


def difference(records: Sequence[EvalRecord], base: Sequence[EvalRecord], metric: Metric) -> Cell:
    """``records`` minus ``base``, paired over the items that both have."""
    pair = paired(records, base, metric)
    if pair is None:
        return Cell(DASH)
    value, low, high, _ = pair
    small = f"[{points(low)}, {points(high)}]" if low < high else "the same on every item"
    if metric.mode == "greedy":
        result = compare(*_common(records, base))
        small += f"; p = {result.p_value:.2g}" if result.p_value is not None else ""
        small += f"; {len(result.wins)} won, {len(result.losses)} lost"
    return Cell(points(value), small)


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


def slices(runs: Sequence[RunData], by: Sequence[str], title: str) -> Table:
    """Greedy accuracy by family or difficulty: start and the end of each arm."""
    greedy = metrics_of(runs)[0]
    rows: list[list[Cell]] = []
    for name in sets_of(runs):
        columns = [_by_group(runs[0], name, 0, by, greedy)]
        columns += [_by_group(run, name, 1, by, greedy) for run in runs]
        keys = list(dict.fromkeys(key for column in columns for key in column))
        if not keys:
            continue
        rows.append([Cell(set_title(_holder(runs, name), name), number=False)])
        for key in keys:
            count = next(column[key].n for column in columns if key in column)
            label = " / ".join(str(part) for part in key)
            cells = [_value(column.get(key)) for column in columns]
            rows.append([Cell(label, number=False), Cell(str(count)), *cells])
    ends = [f"{run.label}, end" for run in runs]
    return Table(title, [" / ".join(by), "items", "start", *ends], rows)


def _by_group(
    run: RunData, name: str, end: int, by: Sequence[str], metric: Metric
) -> dict[tuple[str | int, ...], MetricRow]:
    steps = run.ends(name, metric.mode)
    if steps is None:
        return {}
    rows = summarize(run.records(name, steps[end], metric.mode), by=by, ks=())
    return {tuple(row.group.values()): row for row in rows if row.metric == metric.name}


_QUALITY = {
    "format_failure_greedy": "not in the asked form",
    "truncated_greedy": "cut off by the token limit",
    "unscorable_greedy": "could not be scored",
    "chain_sound_greedy": "reasoning true throughout, leads to the answer",
    "chain_steps_true_greedy": "true steps",
    "right_but_unsound_greedy": "right answer behind unsound reasoning",
    "length_greedy": "tokens per completion",
}


def quality(runs: Sequence[RunData]) -> Table:
    """Failures, length, and whether the reasoning is true, on greedy completions."""
    rows: list[list[Cell]] = []
    for name in sets_of(runs):
        columns = [_quality_of(runs[0], name, 0), *(_quality_of(run, name, 1) for run in runs)]
        if not any(columns):
            continue
        rows.append([Cell(set_title(_holder(runs, name), name), number=False)])
        for metric, title in _QUALITY.items():
            cells = [column.get(metric) for column in columns]
            if any(cells):
                show = _plain if metric.startswith("length") else _value
                rows.append([Cell(title, number=False), *(show(cell) for cell in cells)])
    ends = [f"{run.label}, end" for run in runs]
    return Table("How the answers came about", ["greedy completions", "start", *ends], rows)


def _quality_of(run: RunData, name: str, end: int) -> dict[str, MetricRow]:
    steps = run.ends(name, "greedy")
    if steps is None:
        return {}
    records = run.records(name, steps[end], "greedy")
    return {row.metric: row for row in summarize(records, ks=(), chains=chain_checks(records))}


def chain_checks(
    records: Sequence[EvalRecord],
) -> dict[tuple[str, str, str], tuple[ChainCheck, ...]]:
    """Reasoning checked against the scene, where the benchmark knows it; else nothing."""
    from ekipl_lab.benchmarks.chains import CHECKERS, check_chain

    samples = [rebuild(record.sample_id) for record in records]
    known = [sample for sample in samples if sample is not None and sample.task in CHECKERS]
    if not records or len(known) < len(records):
        return {}
    return check_chains(records, known, check_chain)


def percent(value: float) -> str:
    """47.7 for 0.477."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """A signed difference in percentage points."""
    return f"{100 * value:+.1f}".replace("-", MINUS)


def _value(row: MetricRow | None) -> Cell:
    if row is None:
        return Cell(DASH)
    return Cell(percent(row.value), f"[{percent(row.low)}, {percent(row.high)}]")


def _plain(row: MetricRow | None) -> Cell:
    return Cell(DASH) if row is None else Cell(f"{row.value:.1f}")


def _rows(records: Sequence[EvalRecord], metric: Metric) -> list[MetricRow]:
    ks = [int(metric.name.rsplit("_", 1)[1])] if metric.mode == "sampled" else []
    return [row for row in summarize(records, ks=ks) if row.metric == metric.name]


def _common(
    a: Sequence[EvalRecord], b: Sequence[EvalRecord]
) -> tuple[list[EvalRecord], list[EvalRecord]]:
    """The records of items that both have and that could be scored in both."""
    scored = [{r.sample_id for r in part if _share(r) is not None} for part in (a, b)]
    both = scored[0] & scored[1]
    return [r for r in a if r.sample_id in both], [r for r in b if r.sample_id in both]


def _holder(runs: Sequence[RunData], name: str) -> RunData:
    return next(run for run in runs if name in run.evaluations)


def _share(record: EvalRecord) -> float | None:
    known, right = success_counts(record)
    return right / known if known else None


def _pass(k: int) -> ItemValue:
    def value(record: EvalRecord) -> float | None:
        known, right = success_counts(record)
        return pass_at_k(known, right, k) if known >= k else None

    return value
