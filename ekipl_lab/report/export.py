"""Every number of a report as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

from ekipl_lab.evaluation import summarize
from ekipl_lab.evaluation.summary import Labels, MetricRow
from ekipl_lab.report.arms import arms_of, common_seeds, several_seeds
from ekipl_lab.report.gather import RunData
from ekipl_lab.report.metrics import chain_checks, end_differences, metrics_of, quality_mode, strata
from ekipl_lab.report.seeds import compare_arms
from ekipl_lab.tables import as_csv as table_as_csv

#: Slices of the numbers; by stratum too where a start was measured.
SLICES: tuple[tuple[str, ...], ...] = ((), ("family",), ("difficulty",), ("family", "difficulty"))


@dataclass(frozen=True, slots=True)
class Line:
    """One number with its interval; the columns of the CSV are its fields."""

    kind: str
    arm: str
    against: str
    seed: object
    set: str
    step: int | str
    slice: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    method: str
    p: float | None = None
    p_holm: float | None = None


def as_csv(runs: Sequence[RunData]) -> str:
    """Every metric of every run, set, step and slice, then every difference, one line each.

    ``kind``: ``metric``; ``difference over items`` (one pair of runs of one seed, against the first
    arm; or, in slices, all seeds of an item averaged); or ``difference over seeds`` (the primary
    one, where arms have several seeds). Values are shares. Chains are checked of the completions
    that the page checks: greedy ones, or sampled ones where a run has no others.
    """
    lines = (*_metric_lines(runs), *_pair_lines(runs), *_seed_lines(runs))
    return table_as_csv(tuple(Line.__dataclass_fields__), map(astuple, lines))


def _metric_lines(runs: Sequence[RunData]) -> Iterator[Line]:
    labels = strata(runs)
    for run in runs:
        for name, steps in run.evaluations.items():
            for step in steps:
                for row in _measured(run, name, step, labels):
                    where = " ".join(f"{key}={value}" for key, value in row.group.items())
                    yield Line(
                        "metric", run.label, "", run.config.get("seed", ""), name, step, where,
                        row.metric, row.value, row.low, row.high, row.n, row.method,
                    )  # fmt: skip


def _measured(run: RunData, name: str, step: int, labels: Labels) -> Iterator[MetricRow]:
    """Every metric of a set at a step in every slice; items without a stratum are in none."""
    chains = chain_checks(run.records(name, step, quality_mode(run, name)))
    for by in (*SLICES, ("stratum",)) if labels else SLICES:
        rows = summarize(
            run.evaluations[name][step], by=by, ks=run.sampled_k, chains=chains, labels=labels
        )
        yield from (row for row in rows if row.group.get("stratum") != "")


def _pair_lines(runs: Sequence[RunData]) -> Iterator[Line]:
    for base, run in _pairs(runs):
        found = end_differences(run, base, list(run.evaluations), metrics_of(runs))
        for name, metric, one in found:
            step = max(run.ends(name, metric.mode) or (0,))
            yield Line(
                "difference over items", run.label, base.label, run.config.get("seed", ""), name,
                step, "", metric.name, one.value, one.low, one.high, one.n, "t over items",
            )  # fmt: skip


def _pairs(runs: Sequence[RunData]) -> list[tuple[RunData, RunData]]:
    """Each run and what it is compared with: of the first arm, the run of the same seed."""
    first, *others = arms_of(runs)
    if not several_seeds([first, *others]):
        return [(runs[0], run) for run in runs[1:]]
    return [
        (first.runs[seed], arm.runs[seed]) for arm in others for seed in common_seeds(first, arm)
    ]


def _seed_lines(runs: Sequence[RunData]) -> Iterator[Line]:
    """Differences over seeds; within slices also over items averaged over the seeds."""
    for by in ("", "family", "stratum", "difficulty"):
        for row in compare_arms(arms_of(runs), by):
            if row.result is None:
                continue
            one, items = row.result, row.over_items
            head = (row.arm, row.base, " ".join(map(str, one.seeds)), row.set, "")
            where = (f"{by}={row.group}" if by else "", row.metric.name)
            yield Line(
                "difference over seeds", *head, *where, one.difference, one.low, one.high,
                len(one.seeds), one.method, one.p_value, row.p_holm,
            )  # fmt: skip
            if items is not None:
                yield Line(
                    "difference over items", *head, *where, items.value, items.low, items.high,
                    items.n, "t over items, each the mean of its seeds",
                )  # fmt: skip
