"""Slices beyond the fields of a record: strata by the start's success; what was forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ekipl_lab.errors import DataError
from ekipl_lab.evaluation.compare import Comparison, compare
from ekipl_lab.evaluation.summary import success_counts, summarize
from ekipl_lab.statistics import clustered_mean, holm
from ekipl_lab.types import EvalRecord

#: A family counts as solved at the start from this accuracy on; losing it is forgetting.
SOLVED = 0.5
#: Where a greedy difference has no interval, McNemar's exact p below this tells it from zero.
ALPHA = 0.05


def strata_of(start: Sequence[EvalRecord]) -> dict[str, str]:
    """Sample id -> stratum of its (task, split, family) by the start's success there.

    By pass@1 of the sampled actions where there are some, else by greedy accuracy.
    """
    from ekipl_lab.evaluation.headroom import stratum_of

    mode = "sampled" if any(record.mode == "sampled" for record in start) else "greedy"
    metric = "pass_at_1" if mode == "sampled" else "accuracy_greedy"
    by = ("task", "split", "family")
    chosen = [record for record in start if record.mode == mode]
    values = {
        tuple(row.group.values()): row.value
        for row in summarize(chosen, by=by, ks=(1,))
        if row.metric == metric
    }
    return {
        record.sample_id: stratum_of(values[key])
        for record in chosen
        if (key := (record.task, record.split, record.family)) in values
    }


def strata_from_file(path: str | Path, records: Iterable[EvalRecord]) -> dict[str, str]:
    """Sample id -> stratum, from ``TASK -> families -> NAME -> stratum`` of a JSON file.

    Such a file is what ``ekipl headroom --out`` writes. DataError if it is not one.
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
    return {record.sample_id: named.get((record.task, record.family), "") for record in records}


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

    Raises DataError if the two were not measured on the same samples.
    """
    odd = sorted({r.sample_id for r in now} ^ {r.sample_id for r in start})
    if odd:
        raise DataError(f"The start was measured on other samples, such as {odd[0]}.")
    groups: dict[tuple[str | int, ...], list[str]] = {}
    for record in now:
        groups.setdefault(tuple(getattr(record, name) for name in by), []).append(record.sample_id)
    mine, theirs = ({r.sample_id: r for r in part} for part in (now, start))
    found = []
    for key, ids in sorted(groups.items()):
        both = [i for i in ids if success_counts(mine[i])[0] and success_counts(theirs[i])[0]]
        if len(both) > 1:
            result = compare([mine[i] for i in both], [theirs[i] for i in both])
            found.append((dict(zip(by, key, strict=True)), result, len(ids) - len(both)))
    tested = [result.p_value for _, result, _ in found if result.p_value is not None]
    adjusted = iter(holm(tested))
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
    if not _told_from_zero(result):
        return "open"
    if result.difference > 0:
        return "gained"
    return "forgotten" if result.value_b >= SOLVED else "lost"


def _told_from_zero(result: Comparison) -> bool:
    if result.low < result.high:
        return result.low > 0 or result.high < 0
    if result.p_value is not None:
        return result.p_value < ALPHA
    # Equal differences: as uncertain as values that are only -1 or 1, the widest spread there is.
    share = clustered_mean([(1 + result.difference) / 2] * result.n)
    return share.low > 0.5 or share.high < 0.5
