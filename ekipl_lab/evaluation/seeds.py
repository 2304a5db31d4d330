"""Two methods over the same seeds: the primary comparison of a study.

Each method is evaluated once per seed on the same samples. A metric's value per seed is one number;
the differences of paired seeds carry the uncertainty that matters, of training again. Several
metrics or groups are corrected together by Holm's procedure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation.summary import DEFAULT_KS, Labels, summarize
from ekipl_lab.statistics import holm, paired_t, paired_t_pvalue
from ekipl_lab.types import EvalRecord

Runs = Mapping[int, Sequence[EvalRecord]]
GroupKey = tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """A minus B for one metric of one group, over paired seeds.

    ``differences`` are per seed, in the order of ``seeds``; ``low`` and ``high`` the paired t
    interval of their mean. ``p_value`` and ``p_holm`` (adjusted over everything that was compared
    in one call) are None where all seeds differ by exactly the same: the t test is undefined.
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


def compare_seeds(
    a: Runs,
    b: Runs,
    metrics: Sequence[str] = ("accuracy_greedy",),
    by: Sequence[str] = (),
    ks: Sequence[int] = DEFAULT_KS,
    *,
    labels: Labels | None = None,
) -> list[SeedComparison]:
    """Compare two methods, given as seed -> records, metric by metric and group by group.

    ``by`` and ``labels`` are those of ``summarize``.

    Raises DataError if the seeds differ, if the samples of any two runs differ, or if a metric is
    missing in a run; ConfigError for fewer than 2 seeds.
    """
    seeds = _same_seeds(a, b)
    _same_samples([*a.values(), *b.values()])
    values_a = [_values(a[seed], by, ks, labels) for seed in seeds]
    values_b = [_values(b[seed], by, ks, labels) for seed in seeds]
    groups = sorted({key for values in values_a for key, _ in values})
    found = []
    for metric in metrics:
        rows = [key for key in groups if any((key, metric) in v for v in values_a + values_b)]
        if not rows:
            raise DataError(f"No run has the metric {metric!r}; evaluate in the mode it needs.")
        found += [_compare(key, metric, seeds, values_a, values_b) for key in rows]
    return _adjusted(found)


Values = Mapping[tuple[GroupKey, str], float]


def _values(
    records: Iterable[EvalRecord], by: Sequence[str], ks: Sequence[int], labels: Labels | None
) -> Values:
    rows = summarize(records, by=by, ks=ks, labels=labels)
    return {(tuple(row.group.items()), row.metric): row.value for row in rows}


def _compare(
    key: GroupKey,
    metric: str,
    seeds: tuple[int, ...],
    a: Sequence[Values],
    b: Sequence[Values],
) -> SeedComparison:
    try:
        first = [values[key, metric] for values in a]
        second = [values[key, metric] for values in b]
    except KeyError:
        raise DataError(f"The metric {metric!r} of {dict(key)} is missing in some run.") from None
    differences = tuple(x - y for x, y in zip(first, second, strict=True))
    interval = paired_t(differences)
    same = len(set(differences)) == 1
    return SeedComparison(
        group=dict(key),
        metric=metric,
        seeds=seeds,
        value_a=float(np.mean(first)),
        value_b=float(np.mean(second)),
        differences=differences,
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        method=interval.method,
        p_value=None if same else paired_t_pvalue(differences),
        p_holm=None,
    )


def _adjusted(found: Sequence[SeedComparison]) -> list[SeedComparison]:
    tested = [i for i, one in enumerate(found) if one.p_value is not None]
    adjusted = holm([one.p_value for one in found if one.p_value is not None])
    by_index = dict(zip(tested, adjusted, strict=True))
    return [replace(one, p_holm=by_index.get(i)) for i, one in enumerate(found)]


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
