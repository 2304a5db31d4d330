"""What a report measures: headline metrics, their values in every slice, paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ekipl_lab.evaluation import METRICS, check_chains, summarize
from ekipl_lab.evaluation.chains import ChainCheck
from ekipl_lab.evaluation.metrics import success_counts
from ekipl_lab.evaluation.summary import Labels, MetricRow
from ekipl_lab.report.gather import RunData, When, rebuild
from ekipl_lab.statistics import Interval, paired_t, pass_at_k
from ekipl_lab.tables import DASH, TableCell, share_cell
from ekipl_lab.types import EvalRecord


@dataclass(frozen=True, slots=True)
class Metric:
    """A headline metric: greedy accuracy, or pass@k where there is a ``k``."""

    k: int | None = None

    @property
    def name(self) -> str:
        """As `summarize` names it."""
        return "accuracy_greedy" if self.k is None else f"pass_at_{self.k}"

    @property
    def title(self) -> str:
        """As the page names it."""
        return "greedy accuracy" if self.k is None else f"pass@{self.k}"

    @property
    def mode(self) -> str:
        """The mode it is measured in."""
        return "greedy" if self.k is None else "sampled"

    def of(self, record: EvalRecord) -> float | None:
        """Its value for one item; None where it is undefined."""
        known, right = success_counts(record)
        if self.k is not None:
            return pass_at_k(known, right, self.k) if known >= self.k else None
        return right / known if known else None

    def rows(
        self, records: Sequence[EvalRecord], by: str = "", labels: Labels | None = None
    ) -> dict[str | int, MetricRow]:
        """Its value with the interval in every group of ``by``; without ``by`` of all, as ``""``.

        Empty where it is undefined. Items without a stratum are in none.
        """
        ks = () if self.k is None else (self.k,)
        groups, names = (by,) if by else (), (self.name,)
        found = summarize(records, by=groups, ks=ks, labels=labels, names=names)
        rows = {row.group.get(by, ""): row for row in found}
        return {key: row for key, row in rows.items() if by != "stratum" or key != ""}


GREEDY = Metric()


def metrics_of(runs: Sequence[RunData]) -> list[Metric]:
    """Greedy accuracy, then pass@k for every k that some run asked for."""
    return [GREEDY, *map(Metric, sorted({k for run in runs for k in run.sampled_k}))]


def slice_metric(runs: Sequence[RunData], name: str) -> Metric:
    """The metric that slices show: greedy accuracy if every run measured a set so, else pass@1."""
    measured = [run for run in runs if name in run.evaluations]
    all_in = {mode: all(run.ends(name, mode) for run in measured) for mode in ("greedy", "sampled")}
    return Metric(1) if all_in["sampled"] and not all_in["greedy"] else GREEDY


def first_start(runs: Sequence[RunData], name: str, mode: str) -> list[EvalRecord]:
    """The start of the first run that measured a set there; empty where none did."""
    return next(filter(None, (run.at(name, "start", mode) for run in runs)), [])


def end_differences(
    run: RunData, base: RunData, names: Sequence[str], metrics: Sequence[Metric]
) -> Iterator[tuple[str, Metric, Interval]]:
    """(set, metric, paired difference) of two runs at their ends, where both were measured."""
    for name in names:
        for metric in metrics:
            mine, theirs = (one.at(name, "end", metric.mode) for one in (run, base))
            interval = paired(mine, theirs, metric)
            if interval is not None:
                yield name, metric, interval


def paired(
    records: Sequence[EvalRecord], base: Sequence[EvalRecord], metric: Metric
) -> Interval | None:
    """``records`` minus ``base``, t over items; None with fewer than two common items."""
    mine, theirs = _values(records, metric), _values(base, metric)
    differences = [value - theirs[item] for item, value in mine.items() if item in theirs]
    return paired_t(differences) if len(differences) > 1 else None


def in_both(
    records: Sequence[EvalRecord], base: Sequence[EvalRecord], metric: Metric
) -> tuple[list[EvalRecord], list[EvalRecord]]:
    """The records of items for which the metric is defined in both."""
    items = _values(records, metric).keys() & _values(base, metric).keys()
    mine, theirs = ([one for one in part if one.sample_id in items] for part in (records, base))
    return mine, theirs


def _values(records: Sequence[EvalRecord], metric: Metric) -> dict[str, float]:
    """Item -> the metric's value, where it is defined."""
    found = ((record.sample_id, metric.of(record)) for record in records)
    return {item: value for item, value in found if value is not None}


def paired_over(interval: Interval, records: Sequence[EvalRecord]) -> str:
    """How many of the items a paired difference is over, where that is not all of them."""
    if interval.n == len(records):
        return ""
    return f"over the {interval.n} of {len(records)} items scored in both"


def strata(runs: Sequence[RunData]) -> Labels:
    """Strata by the starts of the runs, the first that has a sample; empty where none has."""
    from ekipl_lab.evaluation.slices import strata_of

    found: dict[str, str] = {}
    for run in runs:
        start = [record for steps in run.evaluations.values() for record in steps.get(0, ())]
        found = strata_of(start) | found
    return {"stratum": found} if found else {}


#: Metric without its mode -> its name on the page.
QUALITY = {metric.name: metric.title for metric in METRICS if metric.drawn == "quality"}


def quality_mode(run: RunData, name: str) -> str:
    """The completions whose quality is shown: greedy ones, sampled where a run has no others."""
    return "greedy" if run.ends(name, "greedy") else "sampled"


def quality_rows(run: RunData, name: str, when: When) -> dict[str, MetricRow]:
    """The metrics of ``QUALITY`` at the start or end; empty where it was not measured."""
    mode = quality_mode(run, name)
    records = run.at(name, when, mode)
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


def items_cell(rows: Sequence[MetricRow]) -> TableCell:
    """How many items the values of a line count: where some could not be scored, from and to."""
    counts = sorted({row.n for row in rows})
    return TableCell(" to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))))


def value_cell(row: MetricRow | None) -> TableCell:
    """A share in percent with its interval."""
    return TableCell(DASH) if row is None else share_cell(row.value, row.low, row.high)
