"""Tables of a report within the headline: slices, and how the answers came about."""

from __future__ import annotations

from collections.abc import Sequence

from ekipl_lab.evaluation import METRICS, check_chains, summarize
from ekipl_lab.evaluation.chains import ChainCheck
from ekipl_lab.evaluation.summary import Labels, MetricRow
from ekipl_lab.report.cells import Table, TableCell, plain_cell, value_cell
from ekipl_lab.report.gather import RunData, rebuild, set_title, sets_of
from ekipl_lab.report.tables import Metric, has_start, holder, metrics_of, pass_metric, starter
from ekipl_lab.types import EvalRecord


def slices(runs: Sequence[RunData], by: Sequence[str], title: str) -> Table:
    """Accuracy by family, stratum or difficulty: start and the end of each arm.

    Greedy where every run measured a set so, else pass@1. Strata are by the success of each family
    at the start; without a start there are none. Start is that of the first run that measured it.
    """
    labels = strata(runs) if "stratum" in by else {}
    rows: list[list[TableCell]] = []
    for name in sets_of(runs) if labels or "stratum" not in by else []:
        measured = [run for run in runs if name in run.evaluations]
        all_sampled = all(run.ends(name, "sampled") for run in measured)
        greedy = all(run.ends(name, "greedy") for run in measured) or not all_sampled
        metric = (
            metrics_of(runs)[0] if greedy else Metric("pass_at_1", "", "sampled", pass_metric(1))
        )
        started = starter(runs, name, metric.mode)
        columns = [_by_group(started, name, 0, by, metric, labels) if started else {}]
        columns += [_by_group(run, name, 1, by, metric, labels) for run in runs]
        keys = dict.fromkeys(key for column in columns for key in column)
        if not keys:
            continue
        suffix = "" if greedy else "; pass@1"
        rows.append([TableCell(set_title(holder(runs, name), name) + suffix, number=False)])
        for key in keys:
            count = next(column[key].n for column in columns if key in column)
            label = " / ".join(str(part) for part in key)
            cells = [value_cell(column.get(key)) for column in columns]
            rows.append([TableCell(label, number=False), TableCell(str(count)), *cells])
    ends = [f"{run.label}, end" for run in runs]
    return Table(title, [" / ".join(by), "items", "start", *ends], rows)


def strata(runs: Sequence[RunData]) -> Labels:
    """Strata by the starts of the runs, the first that has a sample; empty where none has."""
    from ekipl_lab.evaluation.slices import strata_of

    found: dict[str, str] = {}
    for run in runs:
        start = [record for steps in run.evaluations.values() for record in steps.get(0, ())]
        found = strata_of(start) | found
    return {"stratum": found} if found else {}


def _by_group(
    run: RunData, name: str, end: int, by: Sequence[str], metric: Metric, labels: Labels
) -> dict[tuple[str | int, ...], MetricRow]:
    steps = run.ends(name, metric.mode)
    if steps is None:
        return {}
    records = run.records(name, steps[end], metric.mode)
    rows = summarize(records, by=by, ks=(1,), labels=labels)
    return {
        tuple(row.group.values()): row
        for row in rows
        if row.metric == metric.name and row.group.get("stratum") != ""  # no start, no stratum
    }


#: Metric without its mode -> how it is called on the page.
QUALITY = {metric.name: metric.title for metric in METRICS if metric.drawn == "quality"}


def quality(runs: Sequence[RunData]) -> Table:
    """Failures, length, and whether the reasoning is true; greedy completions, else sampled."""
    rows: list[list[TableCell]] = []
    for name in sets_of(runs):
        starts = (_quality_of(run, name, 0) for run in runs)
        start = next((found for found in starts if found), {})
        columns = [start, *(_quality_of(run, name, 1) for run in runs)]
        if not any(columns):
            continue
        rows.append([TableCell(set_title(holder(runs, name), name), number=False)])
        for metric, title in QUALITY.items():
            cells = [column.get(metric) for column in columns]
            if any(cells) and (metric != "missing" or any(c and c.value for c in cells)):
                show = plain_cell if metric == "length" else value_cell
                rows.append([TableCell(title, number=False), *(show(cell) for cell in cells)])
    ends = [f"{run.label}, end" for run in runs]
    return Table(
        "How the answers came about",
        ["completions", "start", *ends],
        rows,
        "Of greedy completions; of sampled ones where a run has no others. Lengths are characters "
        "where a source has no tokens (an oracle).",
    )


def _quality_of(run: RunData, name: str, end: int) -> dict[str, MetricRow]:
    mode = "greedy" if run.ends(name, "greedy") else "sampled"
    steps = run.ends(name, mode)
    if steps is None or (end == 0 and not has_start(run, name, mode)):
        return {}
    records = run.records(name, steps[end], mode)
    rows = summarize(records, ks=(), chains=chain_checks(records))
    return {row.metric.removesuffix(f"_{mode}"): row for row in rows}


def chain_checks(
    records: Sequence[EvalRecord],
) -> dict[tuple[str, str, str], tuple[ChainCheck, ...]]:
    """Reasoning checked against the scene, where the benchmark knows it; else nothing."""
    from ekipl_lab.benchmarks.mini import MINI_TASKS
    from ekipl_lab.benchmarks.mini.chains import check_chain

    samples = [rebuild(record.sample_id) for record in records]
    known = [sample for sample in samples if sample is not None and sample.task in MINI_TASKS]
    if not records or len(known) < len(records):
        return {}
    return check_chains(records, known, check_chain)
