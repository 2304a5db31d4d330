"""Two models on the same items: the paired difference, and which items were won and lost.

For one pair of runs. Conclusions about a method need several seeds: take the per-seed differences
to ``ekipl_lab.statistics.paired_t``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ekipl_lab.errors import DataError
from ekipl_lab.evaluation.metrics import success_counts
from ekipl_lab.statistics import mcnemar_exact, paired_t
from ekipl_lab.types import EvalRecord


@dataclass(frozen=True, slots=True)
class Comparison:
    """A minus B over n items; ``wins`` are items where A is better, ``losses`` where B is.

    ``p_value`` is McNemar's exact test if greedy, None if sampled (read the interval instead).
    """

    metric: str
    n: int
    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    method: str
    p_value: float | None
    wins: tuple[str, ...]
    losses: tuple[str, ...]


def compare(a: Iterable[EvalRecord], b: Iterable[EvalRecord]) -> Comparison:
    """Compare two evaluations of one mode on the same samples, paired by sample.

    Greedy: success 0 or 1 per item. Sampled: share of successes per item (pass@1). The interval
    of the difference is a t interval over items. Raises DataError if the samples or modes differ,
    if a sample occurs twice, or if an item could not be scored.
    """
    first, second = _by_sample(a), _by_sample(b)
    _refuse_mismatch(first, second)
    modes = {record.mode for record in (*first.values(), *second.values())}
    if len(modes) != 1:
        raise DataError(f"Records of the modes {sorted(modes)} cannot be compared; give one mode.")
    mode = modes.pop()
    values = {i: (_share(first[i]), _share(second[i])) for i in sorted(first)}
    wins = tuple(i for i, (x, y) in values.items() if x > y)
    losses = tuple(i for i, (x, y) in values.items() if x < y)
    n = len(values)
    if n < 2:
        raise DataError("A comparison needs 2 or more samples.")
    interval = paired_t([x - y for x, y in values.values()])
    return Comparison(
        metric="accuracy_greedy" if mode == "greedy" else "pass_at_1",
        n=n,
        value_a=sum(x for x, _ in values.values()) / n,
        value_b=sum(y for _, y in values.values()) / n,
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        method="t over items",
        p_value=mcnemar_exact(len(wins), len(losses)) if mode == "greedy" else None,
        wins=wins,
        losses=losses,
    )


def _by_sample(records: Iterable[EvalRecord]) -> dict[str, EvalRecord]:
    found: dict[str, EvalRecord] = {}
    for record in records:
        if record.sample_id in found:
            raise DataError(
                f"Sample {record.sample_id} has two records; give one model and one mode."
            )
        found[record.sample_id] = record
    return found


def _refuse_mismatch(first: dict[str, EvalRecord], second: dict[str, EvalRecord]) -> None:
    for one, other, name in ((first, second, "second"), (second, first, "first")):
        missing = sorted(set(one) - set(other))
        if missing:
            raise DataError(
                f"The evaluations differ in their samples: {len(missing)} are missing from the "
                f"{name}, such as {missing[0]}; evaluate both on the same samples."
            )


def _share(record: EvalRecord) -> float:
    known, right = success_counts(record)
    if known == 0:
        raise DataError(f"Sample {record.sample_id} could not be scored; leave it out of both.")
    return right / known
