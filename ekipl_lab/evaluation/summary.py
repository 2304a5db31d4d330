"""EvalRecords -> rows of metrics (``metrics.METRICS``) with intervals, for every group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

from ekipl_lab.errors import unknown_name
from ekipl_lab.evaluation.chains import ChainChecks, chain_key
from ekipl_lab.evaluation.metrics import DEFAULT_KS, MODES, Item, metrics_of
from ekipl_lab.evaluation.records import RECORD_FIELDS
from ekipl_lab.types import EvalRecord

#: Extra slices: name -> (sample id -> value), such as {"stratum": {...}}.
Labels = Mapping[str, Mapping[str, str]]
#: Each slice and its value, in the order of the slices.
Group = tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric of one group; ``group`` maps each slice to its value; ``n`` counts items."""

    group: Mapping[str, str | int]
    metric: str
    value: float
    low: float
    high: float
    method: str
    n: int


def summarize(
    records: Iterable[EvalRecord],
    by: Sequence[str] = (),
    ks: Sequence[int] = DEFAULT_KS,
    *,
    chains: ChainChecks | None = None,
    labels: Labels | None = None,
    names: Collection[str] | None = None,
) -> list[MetricRow]:
    """All metrics, or those in ``names``, of every group, groups in order of their values.

    ``by`` names fields of EvalRecord (model_id, task, split, family, difficulty, mode) or of
    ``labels``. A k above the number of samples of an item is left out: pass@k is undefined there.
    Raises ConfigError for an unknown slice.
    """
    chains = chains or {}
    rows: list[MetricRow] = []
    for group, members in grouped(records, by, labels).items():
        for mode in MODES:
            items = [Item(r, chains.get(chain_key(r), ())) for r in members if r.mode == mode]
            for metric in metrics_of(mode, ks):
                if names is not None and metric.name not in names:
                    continue
                values = [value for value in map(metric.value, items) if value is not None]
                if values:
                    interval = astuple(metric.estimate(values))
                    rows.append(MetricRow(dict(group), metric.name, *interval))
    return rows


def grouped(
    records: Iterable[EvalRecord], by: Sequence[str], labels: Labels | None = None
) -> dict[Group, list[EvalRecord]]:
    """The records of every group, groups in order of their values; ConfigError as ``summarize``."""
    labels = labels or {}
    for name in by:
        if name not in (*RECORD_FIELDS, *labels):
            raise unknown_name("slice", name, (*RECORD_FIELDS, *labels))
    groups: dict[Group, list[EvalRecord]] = {}
    for record in records:
        key = tuple((name, slice_value(record, name, labels)) for name in by)
        groups.setdefault(key, []).append(record)
    return dict(sorted(groups.items(), key=lambda item: _order(item[0])))


def _order(group: Group) -> list[tuple[bool, str | int]]:
    return [(isinstance(value, str), value) for _, value in group]


def slice_value(record: EvalRecord, name: str, labels: Labels) -> str | int:
    """The value of a slice for a record: of ``labels`` where it is one, else the field."""
    if name in labels:
        return labels[name].get(record.sample_id, "")
    value: str | int = getattr(record, name)
    return value
