"""Every arm against the baseline: differences paired by seed and item, with two intervals.

Over seeds: Student's t of the per-seed differences (`evaluation.seeds`). Over items: t of the
differences of the items, each averaged over the seeds. A difference counts as found where neither
interval holds 0 and Holm's p over all arms and metrics of the set stays below 0.05; with one seed
there is no interval over seeds, and nothing is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ekipl_lab.evaluation import find_metric, try_compare_seeds
from ekipl_lab.evaluation.metrics import Item, Metric
from ekipl_lab.evaluation.summary import Labels, slice_value
from ekipl_lab.statistics import Interval, holm, paired_t
from ekipl_lab.studies.record import CellRecord
from ekipl_lab.types import EvalRecord

ALPHA = 0.05
Seeded = Mapping[int, Sequence[EvalRecord]]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Arm minus baseline in one metric of one group of one set, over the seeds that both have.

    ``over_seeds`` None with one seed; ``over_items`` None with one item. ``p_holm`` None where it
    is undefined, or the group is not the whole set.
    """

    task: str
    set: str
    arm: str
    metric: str
    group: str
    seeds: tuple[int, ...]
    items: int
    value: float
    base: float
    over_seeds: Interval | None
    over_items: Interval | None
    p_value: float | None = None
    p_holm: float | None = None

    @property
    def difference(self) -> float:
        """Arm minus baseline."""
        return self.value - self.base

    @property
    def found(self) -> bool:
        """Whether the difference is outside of what seeds and items alone make."""
        if self.over_seeds is None or self.over_items is None or self.p_holm is None:
            return False
        both = (self.over_seeds, self.over_items)
        return self.p_holm < ALPHA and (
            all(one.low > 0 for one in both) or all(one.high < 0 for one in both)
        )


def runs_of(records: Sequence[CellRecord], task: str, arm: str, name: str) -> Seeded:
    """Seed -> items of a set, of the cells that have it."""
    chosen = [record for record in records if (record.task, record.arm) == (task, arm)]
    return {one.seed: one.records[name] for one in chosen if name in one.records}


def contrasts(
    records: Sequence[CellRecord],
    task: str,
    name: str,
    arms: Sequence[str],
    baseline: str,
    metrics: Sequence[str],
    strata: Mapping[str, Sequence[str]],
) -> list[Contrast]:
    """Every arm but the baseline: in the whole set, each stratum and each family."""
    base = runs_of(records, task, baseline, name)
    found: list[Contrast] = []
    for arm in arms:
        if arm == baseline:
            continue
        mine = runs_of(records, task, arm, name)
        seeds = sorted(mine.keys() & base.keys())
        for metric in metrics if seeds else ():
            pair = ({s: mine[s] for s in seeds}, {s: base[s] for s in seeds})
            head = (task, name, arm, metric)
            for by, labels in _slices(pair[1], strata):
                found += _compare(head, *pair, by, labels)
    return _with_holm(found)


def _slices(runs: Seeded, strata: Mapping[str, Sequence[str]]) -> list[tuple[str, Labels]]:
    stratum = {family: name for name, families in strata.items() for family in families}
    records = next(iter(runs.values()))
    ids = {r.sample_id: stratum[r.family] for r in records if r.family in stratum}
    return [("", {}), *([("stratum", {"stratum": ids})] if ids else []), ("family", {})]


def _compare(
    head: tuple[str, str, str, str], mine: Seeded, base: Seeded, by: str, labels: Labels
) -> list[Contrast]:
    metric = find_metric(head[3])
    groups = _by_group(mine, base, metric, by, labels)
    seeds = tuple(sorted(mine))
    tested: dict[str, tuple[Interval, float | None]] = {}
    if len(seeds) > 1:
        results, _ = try_compare_seeds(mine, base, [metric.name], (by,) if by else (), labels)
        for one in results:
            key = str(one.group[by]) if by else "all"
            interval = Interval(one.difference, one.low, one.high, one.method, len(seeds))
            tested[key] = (interval, one.p_value)
    rows = []
    for group, items in groups.items():
        if group == "":  # in no stratum
            continue
        pairs = list(items.values())
        differences = [sum(a - b for a, b in pair) / len(pair) for pair in pairs]
        values = [[sum(x[i] for x in pair) / len(pair) for pair in pairs] for i in (0, 1)]
        own = tested.get(group)
        rows.append(
            Contrast(
                *head, group, seeds, len(pairs),
                sum(values[0]) / len(values[0]), sum(values[1]) / len(values[1]),
                over_seeds=own and own[0],
                over_items=paired_t(differences) if len(pairs) > 1 else None,
                p_value=own and own[1],
            )
        )  # fmt: skip
    return rows


def _by_group(
    mine: Seeded, base: Seeded, metric: Metric, by: str, labels: Labels
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Group -> item -> (arm, baseline) of each seed at which both have a value."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for seed, records in mine.items():
        other = {r.sample_id: metric.value(Item(r)) for r in base[seed] if r.mode == metric.mode}
        for record in records:
            if record.mode != metric.mode:
                continue
            value, against = metric.value(Item(record)), other.get(record.sample_id)
            if value is not None and against is not None:
                group = str(slice_value(record, by, labels)) if by else "all"
                items = found.setdefault(group, {})
                items.setdefault(record.sample_id, []).append((value, against))
    return dict(sorted(found.items()))


def _with_holm(rows: Sequence[Contrast]) -> list[Contrast]:
    """p adjusted over the whole-set rows: the other groups only say where a difference comes from.

    Stratum and family rows keep a p of their own, adjusted over the rows of their kind.
    """
    adjusted = list(rows)
    for whole in (True, False):
        chosen = [
            i for i, one in enumerate(rows)
            if (one.group == "all") is whole and one.p_value is not None
        ]  # fmt: skip
        values = holm([rows[i].p_value or 0.0 for i in chosen])
        for i, value in zip(chosen, values, strict=True):
            adjusted[i] = replace(rows[i], p_holm=value)
    return adjusted
