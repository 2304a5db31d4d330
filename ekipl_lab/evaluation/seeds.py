"""Two methods over the same seeds: the primary comparison of a study.

Each method is evaluated once per seed on the same samples. A metric's value per seed is one number;
the differences of paired seeds carry the uncertainty that matters, of training again. Several
metrics or groups are corrected together by Holm's procedure.

Metrics of right and wrong (greedy accuracy, pass@k, majority vote, partial credit) are compared, at
every seed, on the items that could be scored in both methods: an item that only one of them has a
score for would change the other's value alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation.summary import (
    DEFAULT_KS,
    Labels,
    majority_success,
    slice_value,
    success_counts,
    summarize,
)
from ekipl_lab.statistics import equal_up_to_rounding, holm, paired_t, paired_t_pvalue
from ekipl_lab.types import EvalRecord

Runs = Mapping[int, Sequence[EvalRecord]]
GroupKey = tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """A minus B for one metric of one group, over paired seeds.

    ``differences`` are per seed, in the order of ``seeds``; ``low`` and ``high`` the paired t
    interval of their mean. ``p_value`` and ``p_holm`` (adjusted over everything that was compared
    in one call) are None where all seeds differ by the same up to rounding: the t test is
    undefined. ``items`` were compared at each seed, of ``total`` that were measured: the rest could
    not be scored in both methods.
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
    ks: Sequence[int] = DEFAULT_KS,
    *,
    labels: Labels | None = None,
) -> list[SeedComparison]:
    """Compare two methods, given as seed -> records, metric by metric and group by group.

    ``by`` and ``labels`` are those of ``summarize``.

    Raises DataError if the seeds differ, if the samples of any two runs differ, if a metric is
    missing in all runs, or if at some seed a group has no item that could be scored in both;
    ConfigError for fewer than 2 seeds.
    """
    found, failed = compare_seeds_or_say(a, b, metrics, by, ks, labels=labels)
    if failed:
        raise DataError(failed[0].why)
    return found


def compare_seeds_or_say(
    a: Runs,
    b: Runs,
    metrics: Sequence[str] = ("accuracy_greedy",),
    by: Sequence[str] = (),
    ks: Sequence[int] = DEFAULT_KS,
    *,
    labels: Labels | None = None,
) -> tuple[list[SeedComparison], list[NotCompared]]:
    """``compare_seeds``, with the groups that cannot be compared beside those that can.

    Holm's procedure is over those that can. Raises as ``compare_seeds``, but for such a group.
    """
    seeds = _same_seeds(a, b)
    _same_samples([*a.values(), *b.values()])
    pairs = [(a[seed], b[seed]) for seed in seeds]
    measured = [_of_pair(pair, by, ks, labels) for pair in pairs]
    found: list[SeedComparison] = []
    failed: list[NotCompared] = []
    for metric in metrics:
        keys = {key for pair in measured for one in pair for key, name in one if name == metric}
        if not keys:
            raise DataError(f"No run has the metric {metric!r}; evaluate in the mode it needs.")
        scored = [_scored_in_both(pair, metric) for pair in pairs]
        values = [
            whole if _lengths(pair) == _lengths(kept) else _of_pair(kept, by, ks, labels)
            for pair, whole, kept in zip(pairs, measured, scored, strict=True)
        ]
        totals = _counts(pairs[0][0], metric, by, labels)
        counts = [_counts(first, metric, by, labels) for first, _ in scored]
        for key in sorted(keys):
            items = tuple(count[key] for count in counts)
            result = _compare(key, metric, seeds, values, items, totals[key])
            if isinstance(result, NotCompared):
                failed.append(result)
            else:
                found.append(result)
    return _adjusted(found), failed


Values = Mapping[tuple[GroupKey, str], float]
Pair = tuple[Sequence[EvalRecord], Sequence[EvalRecord]]


def _lengths(pair: Pair) -> tuple[int, int]:
    return len(pair[0]), len(pair[1])


def _of_pair(
    pair: Pair, by: Sequence[str], ks: Sequence[int], labels: Labels | None
) -> tuple[Values, Values]:
    return _values(pair[0], by, ks, labels), _values(pair[1], by, ks, labels)


def _values(
    records: Iterable[EvalRecord], by: Sequence[str], ks: Sequence[int], labels: Labels | None
) -> Values:
    rows = summarize(records, by=by, ks=ks, labels=labels)
    return {(tuple(row.group.items()), row.metric): row.value for row in rows}


def _scored_in_both(pair: Pair, metric: str) -> Pair:
    """The records of the items, each of one mode, for which both have a value under the metric."""
    one, other = ({_item(r) for r in run if _has_value(r, metric)} for run in pair)
    both = one & other
    return [r for r in pair[0] if _item(r) in both], [r for r in pair[1] if _item(r) in both]


def _item(record: EvalRecord) -> tuple[str, str]:
    return record.sample_id, record.mode


def _has_value(record: EvalRecord, metric: str) -> bool:
    """Whether the item has a score where the metric asks for one."""
    if metric == "accuracy_greedy":
        return record.mode == "greedy" and record.rewards[0].success is not None
    if metric.startswith("pass_at_"):
        k = int(metric.removeprefix("pass_at_"))
        return record.mode == "sampled" and success_counts(record)[0] >= k
    if metric == "majority_vote":
        return record.mode == "sampled" and majority_success(record) is not None
    if metric.startswith("partial_credit_"):
        return any(reward.components.get("accuracy") is not None for reward in record.rewards)
    return True  # of the actions as they are, such as their length, or how many had no score


def _counts(
    records: Iterable[EvalRecord], metric: str, by: Sequence[str], labels: Labels | None
) -> Counter[GroupKey]:
    """How many items of the metric's mode every group has."""
    mode = "greedy" if metric.endswith("greedy") else "sampled"
    return Counter(
        tuple((name, slice_value(record, name, labels or {})) for name in by)
        for record in records
        if record.mode == mode
    )


def _compare(
    key: GroupKey,
    metric: str,
    seeds: tuple[int, ...],
    values: Sequence[tuple[Values, Values]],
    items: tuple[int, ...],
    total: int,
) -> SeedComparison | NotCompared:
    for seed, pair in zip(seeds, values, strict=True):
        if not all((key, metric) in one for one in pair):
            return NotCompared(dict(key), metric, seed)
    first, second = ([pair[i][key, metric] for pair in values] for i in (0, 1))
    differences = tuple(x - y for x, y in zip(first, second, strict=True))
    interval = paired_t(differences)
    same = equal_up_to_rounding(differences)
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
        items=items,
        total=total,
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
