"""The report's answer in words: what moved, where, what was lost, what the group doctor says.

Every number comes from the same functions as the tables below it. A movement is named only where
its 95 % interval (paired by item) leaves out zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ekipl_lab.report.arms import Arm, arms_of, several_seeds
from ekipl_lab.report.gather import RunData, set_title, sets_of
from ekipl_lab.report.metrics import (
    GREEDY,
    Metric,
    first_start,
    in_both,
    items_cell,
    metrics_of,
    paired,
    paired_over,
    value_cell,
)
from ekipl_lab.report.seeds import SeedRow, compare_arms
from ekipl_lab.report.training import examined
from ekipl_lab.statistics import Interval
from ekipl_lab.tables import MINUS, Table, TableCell, limits, percent, points, row
from ekipl_lab.types import EvalRecord


@dataclass(frozen=True, slots=True)
class Change:
    """A run's end minus its start in one family of a set (``family`` "" is the whole set), over
    the items that could be scored in both."""

    run: str
    set: str
    family: str
    metric: Metric
    start: float
    end: float
    interval: Interval

    @property
    def moved(self) -> int:
        """1 above zero, -1 below, 0 where the interval holds zero."""
        return int(self.interval.low > 0) - int(self.interval.high < 0)

    def words(self) -> str:
        """The metric, both ends and the difference with its interval."""
        return (
            f"{_spoken(self.metric)} {percent(self.start)} to {percent(self.end)} %, "
            f"{points(self.interval.value)} {limits(self.interval.low, self.interval.high)}"
        )


def _spoken(metric: Metric) -> str:
    return "sampled accuracy" if metric.k == 1 else metric.title


def headline_metrics(runs: Sequence[RunData]) -> list[Metric]:
    """Greedy accuracy, sampled accuracy (pass@1) and pass@k of the largest k that all asked for."""
    largest = max((metric.k or 0 for metric in metrics_of(runs)), default=0)
    return [GREEDY, *(Metric(k) for k in dict.fromkeys((1, largest)) if k)]


def changes(run: RunData, metrics: Sequence[Metric], by_family: bool) -> Iterator[Change]:
    """What a run's end is over its start, by family or of each whole set."""
    for name in sets_of([run]):
        for metric in metrics:
            start, end = (run.at(name, when, metric.mode) for when in ("start", "end"))
            for family in dict.fromkeys(r.family for r in end) if by_family else ("",):
                found = _change(run.label, name, family, metric, start, end)
                if found is not None:
                    yield found


def _change(
    label: str,
    name: str,
    family: str,
    metric: Metric,
    start: Sequence[EvalRecord],
    end: Sequence[EvalRecord],
) -> Change | None:
    own = [[r for r in part if family in ("", r.family)] for part in (start, end)]
    before, after = in_both(own[0], own[1], metric)
    interval = paired(after, before, metric)
    values = [metric.rows(part).get("") for part in (before, after)]
    if interval is None or values[0] is None or values[1] is None:
        return None
    return Change(label, name, family, metric, values[0].value, values[1].value, interval)


def answer(runs: Sequence[RunData]) -> list[str]:
    """The page's first sentences; empty where nothing was trained.

    Of arms with several seeds: what differs over seeds, and what does not. Else what each run's
    end is over its start.
    """
    trained = [run for run in runs if not run.is_evaluation and sets_of([run])]
    if not trained:
        return []
    memo, key = trained[0].memo, f"answer over {[id(run) for run in trained]}"
    if key not in memo:
        memo[key] = _answer(trained)
    return list(memo[key])


def _answer(trained: Sequence[RunData]) -> list[str]:
    arms = arms_of(trained)
    if several_seeds(arms):
        return [*_over_seeds(arms), _doctor(trained)]
    metrics = headline_metrics(trained)
    found = [list(changes(run, metrics, by_family=True)) for run in trained]
    whole = [list(changes(run, metrics, by_family=False)) for run in trained]
    names = [run.label for run in trained]
    return [
        *_in_short(names, whole),
        _moved(names, found),
        _where(names, whole),
        *_between(trained, metrics),
        _lost(names, found),
        _doctor(trained),
    ]


#: Direction of a movement -> its word; 0 is an interval that holds zero.
_WORDS = {1: "rose", -1: "fell", 0: "not told apart from the start"}


def _in_short(names: Sequence[str], whole: Sequence[Sequence[Change]]) -> Iterator[str]:
    """Which metrics rose and fell over each whole set, without a figure."""
    parts = []
    for name, its in zip(names, whole, strict=True):
        for place in dict.fromkeys(change.set for change in its):
            metrics = {
                word: [_spoken(c.metric) for c in its if c.set == place and c.moved == sign]
                for sign, word in _WORDS.items()
            }
            said = (f"{' and '.join(of)} {word}" for word, of in metrics.items() if of)
            parts.append(f"{name} on {place}: {', '.join(said)}")
    if parts:
        yield "In short. " + "; ".join(parts) + "."


def _moved(names: Sequence[str], found: Sequence[Sequence[Change]]) -> str:
    """What each run gained, or that it gained nothing."""
    parts = [
        _listed(name, "gained in", [c for c in its if c.moved > 0])
        or f"{name} gained in no family (no interval lies above 0)"
        for name, its in zip(names, found, strict=True)
    ]
    return "What moved, start to end: " + "; ".join(parts) + "."


def _where(names: Sequence[str], whole: Sequence[Sequence[Change]]) -> str:
    """The whole sets: in domain and out of domain."""
    parts = []
    for name, its in zip(names, whole, strict=True):
        differences = [(c.set, c.metric, c.interval) for c in its]
        parts.append(f"{name}: " + (_by_set(differences) or "measured once only"))
    return "Over all items of a set, in points: " + ". ".join(parts) + "."


def _between(runs: Sequence[RunData], metrics: Sequence[Metric]) -> Iterator[str]:
    """Each run's end against that of the first, over all items of a set."""
    first, *others = runs
    for run in others:
        differences = []
        for name in sets_of([first, run]):
            for metric in metrics:
                own, of_first = (one.at(name, "end", metric.mode) for one in (run, first))
                interval = paired(own, of_first, metric)
                differences += [(name, metric, interval)] if interval else []
        if differences:
            yield (
                f"{run.label} {MINUS} {first.label} at the end, in points: "
                f"{_by_set(differences)}. One seed each: the intervals are over items alone."
            )


def _by_set(differences: Sequence[tuple[str, Metric, Interval]]) -> str:
    """``test greedy accuracy +1.0 [...], pass@8 +2.0 [...]; test_ood ...``."""
    sets = dict.fromkeys(name for name, *_ in differences)
    parts = (
        ", ".join(
            f"{_spoken(metric)} {points(interval.value)} {_limits(interval)}"
            for own, metric, interval in differences
            if own == name
        )
        for name in sets
    )
    return "; ".join(f"{name} {part}" for name, part in zip(sets, parts, strict=True))


def _limits(interval: Interval) -> str:
    """The interval, or that there is none to give because no item differs."""
    if interval.low == interval.high:
        return "(the same on every item)"
    return limits(interval.low, interval.high)


def in_brief(runs: Sequence[RunData]) -> list[str]:
    """What a terminal shows of it: the first sentence, and what was lost."""
    said = answer(runs)
    return said[:1] + [part for part in said[1:] if part.startswith(_LOST)]


_LOST = "What was lost"


def _lost(names: Sequence[str], found: Sequence[Sequence[Change]]) -> str:
    """Every family and metric that fell, and out of how many."""
    parts = [
        _listed(name, "lost in", [c for c in its if c.moved < 0])
        for name, its in zip(names, found, strict=True)
    ]
    kept = [name for name, part in zip(names, parts, strict=True) if not part]
    said = [part for part in parts if part]
    if kept:
        said.append(f"{' and '.join(kept)} lost in no family (no interval lies below 0)")
    count = sum(map(len, found))
    return (
        f"{_LOST}: {'; '.join(said)}. Of the {count} intervals by family, each stated by "
        "itself, about one in twenty leaves out 0 by chance."
    )


def _listed(name: str, verb: str, found: Sequence[Change]) -> str:
    """What moved by family, the largest movement first."""
    places: dict[tuple[str, str], list[Change]] = {}
    for change in sorted(found, key=lambda change: -abs(change.interval.value)):
        places.setdefault((change.family, change.set), []).append(change)
    parts = (
        f"{family} of {place} ({'; '.join(change.words() for change in its)})"
        for (family, place), its in places.items()
    )
    return f"{name} {verb} " + ", ".join(parts) if places else ""


def _doctor(runs: Sequence[RunData]) -> str:
    """How many groups taught nothing in each run, and why most of them did not."""
    parts = []
    for run in runs:
        found = examined(run)
        if found is None:
            parts.append(f"{run.label} recorded no groups")
            continue
        part = f"{percent(found.zero_advantage / found.groups)} % of those of {run.label}"
        if found.zero_advantage and found.findings:
            first = found.findings[0]
            why = first.words.partition(": ")[2].rstrip(".")
            part += f" (most often, {first.count} of {first.out_of}: {why})"
        parts.append(part)
    return (
        "Groups that taught nothing, because all kept rewards were equal: " + "; ".join(parts) + "."
    )


def _over_seeds(arms: Sequence[Arm]) -> list[str]:
    """One sentence for each arm against the first, over paired seeds."""
    rows = [one for one in compare_arms(arms) if one.result is not None]
    wanted = headline_metrics([run for arm in arms for run in arm.runs.values()])
    said = []
    for arm in arms[1:]:
        own = [one for one in rows if one.arm == arm.label and one.metric in wanted]
        clear = [words for one in own if (words := _difference(one, clear=True))]
        open_ = [words for one in own if (words := _difference(one, clear=False))]
        text = f"{arm.label} {MINUS} {arms[0].label}, paired over seeds: "
        text += ", ".join(clear) or "no difference whose interval leaves out zero"
        said.append(text + (f"; not decided: {', '.join(open_)}." if open_ else "."))
    return said


def _difference(one: SeedRow, clear: bool) -> str:
    """A difference in words if its interval leaves out zero (``clear``), or if it does not."""
    result = one.result
    if result is None or (result.low > 0 or result.high < 0) is not clear:
        return ""
    place, interval = f"{_spoken(one.metric)} of {one.set}", limits(result.low, result.high)
    return f"{place} {points(result.difference)} {interval}"


def families(runs: Sequence[RunData]) -> Table:
    """Greedy accuracy and pass@k by family: the start, and each arm's end with its change."""
    metrics = headline_metrics(runs)
    rows: list[list[TableCell]] = []
    for name in sets_of(runs):
        rows.append(row(set_title(runs, name)))
        for family in _families(runs, name):
            for metric in metrics:
                line = _family_row(runs, name, family, metric)
                rows += [line] if line else []
    return Table(
        "Accuracy and pass@k by family",
        ["family", "metric", "items", "start", *(f"{run.label}, end" for run in runs)],
        rows,
        "Percent with 95 % intervals over items. Below the end of an arm: its difference from the "
        "start in points, paired by item, each interval by itself (not adjusted for their number).",
    )


def _family_row(
    runs: Sequence[RunData], name: str, family: str, metric: Metric
) -> list[TableCell] | None:
    def of(records: Sequence[EvalRecord]) -> list[EvalRecord]:
        return [record for record in records if record.family == family]

    start = of(first_start(runs, name, metric.mode))
    ends = [of(run.at(name, "end", metric.mode)) for run in runs]
    found = [metric.rows(part).get("") for part in (start, *ends)]
    known = [value for value in found if value is not None]
    if not known:
        return None
    cells = [
        _with_change(value_cell(value), paired(end, start, metric), end)
        for value, end in zip(found[1:], ends, strict=True)
    ]
    return row(family, metric.title, items_cell(known), value_cell(found[0]), *cells)


def _with_change(
    cell: TableCell, change: Interval | None, records: Sequence[EvalRecord]
) -> TableCell:
    if change is None:
        return cell
    small = f"{points(change.value)} {limits(change.low, change.high)}"
    parts = (cell.small, small, paired_over(change, records))
    return replace(cell, small="; ".join(filter(None, parts)))


def _families(runs: Sequence[RunData], name: str) -> list[str]:
    ends = [run.at(name, "end", mode) for run in runs for mode in ("greedy", "sampled")]
    return list(dict.fromkeys(record.family for records in ends for record in records))
