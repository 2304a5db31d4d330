"""Two methods over the same seeds: the primary comparison of a study.

Each method is evaluated once per seed on the same samples. A metric's value per seed is one number;
the differences of paired seeds carry the uncertainty that matters, of training again. Several
metrics or groups are corrected together by Holm's procedure.

At every seed the two are compared on the items that have a value in both (for accuracy: that could
be scored): an item that only one of them has would change the other's value alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation.metrics import Item, Metric, find_metric
from ekipl_lab.evaluation.summary import Labels, grouped
from ekipl_lab.statistics import equal_up_to_rounding, holm, paired_t, paired_t_pvalue
from ekipl_lab.types import EvalRecord

Runs = Mapping[int, Sequence[EvalRecord]]
#: Sample id -> value of the metric, for the items that have one.
Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """A minus B for one metric of one group, over paired seeds.

    ``differences`` are per seed, in the order of ``seeds``; ``low`` and ``high`` the paired t
    interval of their mean. ``p_value`` and ``p_holm`` (adjusted over everything that was compared
    in one call) are None where all seeds differ by the same up to rounding: the t test is
    undefined. ``items`` were compared at each seed, of ``total`` that were measured: the rest have
    no value in one of the methods.
    """

    group: Mapping[str, str | int]
    metric: str
    seeds: tuple[int, ...]
    value_a: float
    value_b: float
    differences: tuple[float, ...]
    difference: float
    low: float
    high: float
    method: str
    p_value: float | None
    p_holm: float | None
    items: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class NotCompared:
    """One metric of one group of which no item was scored in both methods at ``seed``."""

    group: Mapping[str, str | int]
    metric: str
    seed: int

    @property
    def why(self) -> str:
        """What is missing, in a sentence."""
        where = "".join(f" of {name} {value}" for name, value in self.group.items())
        return f"At seed {self.seed} no item{where} has a score for {self.metric} in both methods."


def compare_seeds(
    a: Runs,
    b: Runs,
    metrics: Sequence[str] = ("accuracy_greedy",),
    by: Sequence[str] = (),
    labels: Labels | None = None,
) -> list[SeedComparison]:
    """Compare two methods, given as seed -> records, metric by metric and group by group.

    ``by`` and ``labels`` are those of ``summarize``.

    Raises DataError if the seeds differ, if the samples of any two runs differ, if a metric is
    missing in all runs, or if at some seed a group has no item that could be scored in both;
    ConfigError for fewer than 2 seeds, or an unknown metric or slice.
    """
    found, failed = try_compare_seeds(a, b, metrics, by, labels)
    known = {one.metric for one in found} | {one.metric for one in failed}
    if missing := set(metrics) - known:
        raise DataError(f"No run has the metric {min(missing)!r}; evaluate in the mode it needs.")
    if failed:
        raise DataError(failed[0].why)
    return found


def try_compare_seeds(
    a: Runs, b: Runs, metrics: Sequence[str], by: Sequence[str] = (), labels: Labels | None = None
) -> tuple[list[SeedComparison], list[NotCompared]]:
    """``compare_seeds``, with the groups that cannot be compared beside those that can.

    Holm's procedure is over those that can. A metric that no run has (such as pass@k for a k above
    the number of samples) is in neither list. Raises as ``compare_seeds`` for everything else.
    """
    seeds = _same_seeds(a, b)
    _same_samples([*a.values(), *b.values()])
    found: list[SeedComparison] = []
    failed: list[NotCompared] = []
    for metric in map(find_metric, metrics):
        pairs = {seed: (_values(a[seed], metric), _values(b[seed], metric)) for seed in seeds}
        measured = {i for pair in pairs.values() for values in pair for i in values}
        of_mode = [record for record in a[seeds[0]] if record.mode == metric.mode]
        for group, records in grouped(of_mode, by, labels).items():
            ids = {record.sample_id for record in records}
            if not ids & measured:
                continue
            result = _compare(dict(group), metric, pairs, ids)
            if isinstance(result, NotCompared):
                failed.append(result)
            else:
                found.append(result)
    return _adjusted(found), failed


def _values(records: Iterable[EvalRecord], metric: Metric) -> Values:
    pairs = ((r.sample_id, metric.value(Item(r))) for r in records if r.mode == metric.mode)
    return {sample_id: value for sample_id, value in pairs if value is not None}


def _compare(
    group: Mapping[str, str | int],
    metric: Metric,
    pairs: Mapping[int, tuple[Values, Values]],
    ids: set[str],
) -> SeedComparison | NotCompared:
    """The items ``ids`` of a group, at every seed those that have a value in both methods."""
    first: list[float] = []
    second: list[float] = []
    items: list[int] = []
    for seed, (mine, theirs) in pairs.items():
        both = ids & mine.keys() & theirs.keys()
        if not both:
            return NotCompared(group, metric.name, seed)
        for means, values in ((first, mine), (second, theirs)):
            means.append(metric.estimate([x for i, x in values.items() if i in both]).value)
        items.append(len(both))
    differences = tuple(x - y for x, y in zip(first, second, strict=True))
    interval = paired_t(differences)
    same = equal_up_to_rounding(differences)
    return SeedComparison(
        group=group,
        metric=metric.name,
        seeds=tuple(pairs),
        value_a=float(np.mean(first)),
        value_b=float(np.mean(second)),
        differences=differences,
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        method=interval.method,
        p_value=None if same else paired_t_pvalue(differences),
        p_holm=None,
        items=tuple(items),
        total=len(ids),
    )


def _adjusted(found: Sequence[SeedComparison]) -> list[SeedComparison]:
    adjusted = iter(holm([one.p_value for one in found if one.p_value is not None]))
    return [one if one.p_value is None else replace(one, p_holm=next(adjusted)) for one in found]


def _same_seeds(a: Runs, b: Runs) -> tuple[int, ...]:
    if set(a) != set(b):
        odd = sorted(set(a) ^ set(b))
        raise DataError(f"The seeds {odd} are in one method only; run both on the same seeds.")
    if len(a) < 2:
        raise ConfigError("A comparison over seeds needs 2 or more seeds.")
    return tuple(sorted(a))


def _same_samples(runs: Iterable[Sequence[EvalRecord]]) -> None:
    sets = [{(record.sample_id, record.mode) for record in run} for run in runs]
    for other in sets[1:]:
        odd = sorted(sets[0] ^ other)
        if odd:
            raise DataError(
                f"The runs differ in their samples, such as {odd[0][0]} ({odd[0][1]}); evaluate "
                "all of them on the same samples."
            )
