"""Slices beyond the fields of a record: strata by the start's success; what was forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ekipl_lab.errors import DataError
from ekipl_lab.evaluation.compare import Comparison, compare
from ekipl_lab.evaluation.metrics import Item, find_metric, success_counts
from ekipl_lab.evaluation.summary import grouped
from ekipl_lab.statistics import clustered_mean, holm
from ekipl_lab.types import EvalRecord, Sample

#: Strata of families by their success, with the upper limit of each.
STRATA = ((0.05, "0-5 %"), (0.50, "5-50 %"), (1.0, "> 50 %"))
#: A family counts as solved at the start from this accuracy on; losing it is forgetting.
SOLVED = 0.5
#: Where a greedy difference has no interval, McNemar's exact p must be below this.
ALPHA = 0.05


def stratum_of(success: float) -> str:
    """The stratum of a family by its success."""
    return next(name for limit, name in STRATA if success <= limit)


def strata_of(start: Sequence[EvalRecord]) -> dict[str, str]:
    """Sample id -> stratum of its (task, split, family) by the start's success there.

    By pass@1 of the sampled actions where there are some, else by greedy accuracy.
    """
    sampled = any(record.mode == "sampled" for record in start)
    metric = find_metric("pass_at_1" if sampled else "accuracy_greedy")
    of_mode = [record for record in start if record.mode == metric.mode]
    strata: dict[str, str] = {}
    for records in grouped(of_mode, ("task", "split", "family")).values():
        values = [x for record in records if (x := metric.value(Item(record))) is not None]
        if values:
            stratum = stratum_of(metric.estimate(values).value)
            strata |= {record.sample_id: stratum for record in records}
    return strata


def strata_from_file(
    path: str | Path, records: Iterable[EvalRecord] | Iterable[Sample]
) -> dict[str, str]:
    """Id -> stratum, from ``TASK -> families -> NAME -> stratum`` of a JSON file.

    Such a file is what ``ekipl headroom --out`` writes. DataError if it is not one, or names no
    family of the records (or samples).
    """
    try:
        named = {
            (task, name): str(row["stratum"])
            for task, found in json.loads(Path(path).read_text(encoding="utf-8")).items()
            for name, row in found["families"].items()
        }
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} holds no strata of families; `ekipl headroom --out` writes such a file."
        ) from error
    strata = {
        one.id if isinstance(one, Sample) else one.sample_id: named.get((one.task, one.family), "")
        for one in records
    }
    if strata and not any(strata.values()):
        raise DataError(
            f"{path} has strata of {', '.join(sorted({task for task, _ in named})) or 'no task'}, "
            "and of no family that is measured here; give the file of this task."
        )
    return strata


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One group now against at the start; ``p_holm`` over all groups (greedy only).

    ``verdict``: ``forgotten`` (solved at the start, and the interval lies below zero), ``lost``,
    ``gained``, or ``open`` (the interval holds zero). A difference that is the same on every item
    has no t interval: greedy, McNemar's exact p must be below 0.05; sampled, Wilson's interval of a
    share of so many items, stretched from 0..1 to -1..1, must lie on one side of zero.
    ``left_out`` items were not scored in both.
    """

    group: Mapping[str, str | int]
    comparison: Comparison
    p_holm: float | None
    verdict: str
    left_out: int


def changes_since(
    now: Sequence[EvalRecord], start: Sequence[EvalRecord], by: Sequence[str] = ("family",)
) -> list[ItemChange]:
    """Every group of ``by`` now against at the start, of one mode; groups of 2 items or more.

    Raises DataError if the two were not measured on the same samples, ConfigError for an unknown
    slice.
    """
    odd = sorted({r.sample_id for r in now} ^ {r.sample_id for r in start})
    if odd:
        raise DataError(f"The start was measured on other samples, such as {odd[0]}.")
    before = {record.sample_id: record for record in start}
    found = []
    for group, records in grouped(now, by).items():
        pairs = [(record, before[record.sample_id]) for record in records]
        both = [pair for pair in pairs if all(success_counts(record)[0] for record in pair)]
        if len(both) > 1:
            result = compare([mine for mine, _ in both], [theirs for _, theirs in both])
            found.append((dict(group), result, len(pairs) - len(both)))
    adjusted = iter(holm([r.p_value for _, r, _ in found if r.p_value is not None]))
    return [
        ItemChange(
            group,
            result,
            None if result.p_value is None else next(adjusted),
            _verdict(result),
            left_out,
        )
        for group, result, left_out in found
    ]


def _verdict(result: Comparison) -> str:
    if not _clear_of_zero(result):
        return "open"
    if result.difference > 0:
        return "gained"
    return "forgotten" if result.value_b >= SOLVED else "lost"


def _clear_of_zero(result: Comparison) -> bool:
    if result.low < result.high:
        return result.low > 0 or result.high < 0
    if result.p_value is not None:
        return result.p_value < ALPHA
    # Equal differences: as uncertain as values that are only -1 or 1, the widest spread there is.
    share = clustered_mean([(1 + result.difference) / 2] * result.n)
    return share.low > 0.5 or share.high < 0.5
