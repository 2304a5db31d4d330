"""The page of a study, made of its records alone: answer in words, tables, figures.

`answer` says no more than the intervals do: a difference is named only where `Contrast.found`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation import find_metric
from ekipl_lab.evaluation.metrics import Item
from ekipl_lab.files import write_text
from ekipl_lab.plots.figures import Point, learning_curves, write_image
from ekipl_lab.statistics import Interval, clustered_mean, paired_t
from ekipl_lab.studies.config import Study
from ekipl_lab.studies.contrasts import Contrast, contrasts, runs_of
from ekipl_lab.studies.equal_cost import at_equal_cost, equal_cost_table
from ekipl_lab.studies.record import CellRecord
from ekipl_lab.studies.registered import (
    Tested,
    registered_answer,
    registered_contrasts,
    registered_table,
)
from ekipl_lab.studies.sources import sources_section
from ekipl_lab.tables import (
    DASH,
    Table,
    TableCell,
    as_markdown,
    limits,
    markdown_text,
    percent,
    points,
    row,
)

#: Cost axis -> heading. Means over the cells of an arm.
COSTS = {
    "policy_completions": "policy completions",
    "policy_tokens": "tokens generated",
    "trained_tokens": "tokens trained on",
    "teacher_actions": "teacher actions",
    "teacher_tokens": "teacher tokens",
    "wall_seconds": "wall seconds",
    "cpu_seconds": "CPU seconds",
}


def write_page(study: Study, records: Sequence[CellRecord], planned: int, folder: Path) -> Path:
    """Write ``README.md`` and its figures; where figures cannot be drawn, the page says why."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = all_contrasts(study, records)
    parts = [f"# Study {markdown_text(study.name)}"]
    parts += [markdown_text(study.question)] if study.question else []
    tested = registered_contrasts(study, records)
    parts += ["\n".join(answer(study, rows, tested)), state(study, records, planned)]
    parts += [as_markdown(registered_table(tested))] if tested else []
    for task, name in places(records):
        title = f"{task}, {name}"
        here = [one for one in rows if (one.task, one.set) == (task, name)]
        parts.append(as_markdown(final_table(study, records, task, name)))
        parts.append(as_markdown(difference_table(f"Against {study.baseline}: {title}", here)))
        groups = [one for one in here if one.group != "all"]
        parts.append(as_markdown(group_table(f"By stratum and family: {title}", groups)))
        parts += _equal_cost(study, records, task, name)
    parts.append(as_markdown(cost_table(study, records)))
    parts += [figures(study, records, folder), sources_section(study, records, folder)]
    return write_text(folder / "README.md", "\n\n".join(filter(None, parts)) + "\n")


def places(records: Iterable[CellRecord]) -> list[tuple[str, str]]:
    """(task, set) of all records, in order of appearance."""
    return list(dict.fromkeys((one.task, name) for one in records for name in one.records))


def all_contrasts(study: Study, records: Sequence[CellRecord]) -> list[Contrast]:
    """Of every task and set."""
    return [
        one
        for task, name in places(records)
        for one in contrasts(
            records, task, name, list(study.arms), study.baseline, study.shown, study.strata
        )
    ]


def _equal_cost(study: Study, records: Sequence[CellRecord], task: str, name: str) -> list[str]:
    metric = f"eval/{name}/accuracy_greedy"
    start = _start(study, records, task, name)
    starts = dict.fromkeys(study.seeds, start[0]) if start else {}
    rows = at_equal_cost(study, records, task, metric, starts)
    title = f"At equal cost: {task}, {name}"
    return [as_markdown(equal_cost_table(title, "accuracy_greedy", rows))] if rows else []


def answer(study: Study, rows: Sequence[Contrast], tested: Sequence[Tested] = ()) -> list[str]:
    """The answer: what was registered; then for each set and metric the arms that differ from the
    baseline, and the rest.
    """
    lines = ["## Answer", ""]
    if tested:
        lines += [*registered_answer(tested), "", "What was looked at beside them:", ""]
    whole = [one for one in rows if one.group == "all"]
    if not whole:
        return [*lines, f"None yet: no arm has been measured beside {study.baseline}."]
    for task, name in dict.fromkeys((one.task, one.set) for one in whole):
        for metric in study.shown:
            here = [one for one in whole if (one.task, one.set, one.metric) == (task, name, metric)]
            if here:
                lines.append(f"- **{task}, {name}, {find_metric(metric).title}**: {_said(here)}")
    return lines


def _said(here: Sequence[Contrast]) -> str:
    base = statistics.mean(one.base for one in here)
    found = [one for one in here if one.found]
    rest = [one for one in here if not one.found]
    parts = [
        f"{markdown_text(one.arm)} is {'above' if one.difference > 0 else 'below'} by "
        f"{points(abs(one.difference))[1:]} points ({_span(one)})"
        for one in sorted(found, key=lambda one: -one.difference)
    ]
    if single := [one for one in rest if one.over_seeds is None]:
        names = ", ".join(f"{markdown_text(one.arm)} {points(one.difference)}" for one in single)
        parts.append(f"with one seed nothing can be said of other seeds ({names})")
    if unsure := [one for one in rest if one.over_seeds is not None]:
        names = ", ".join(
            f"{markdown_text(one.arm)} {points(one.difference)} ({_span(one)})" for one in unsure
        )
        parts.append(f"not told apart from it: {names}")
    return f"the baseline has {percent(base)} %; " + "; ".join(parts) + "."


def _span(one: Contrast) -> str:
    """The wider interval, in words."""
    known = [i for i in (one.over_seeds, one.over_items) if i is not None]
    if not known:
        return "no interval"
    wide = max(known, key=lambda i: i.high - i.low)
    return f"{points(wide.low)} to {points(wide.high)}"


def state(study: Study, records: Sequence[CellRecord], planned: int) -> str:
    """How much of it is there, where from, and what it cost."""
    hours = sum(one.raw["cost"]["cpu_seconds"] for one in records) / 3600
    versions = sorted({str(one.raw["code"]["revision"])[:10] for one in records})
    changed = sum(bool(one.raw["code"]["changed"]) for one in records)
    text = (
        f"{len(records)} of {planned} cells have a record; training took {hours:.2f} CPU hours "
        f"without measuring. Differences are called found where the t interval over seeds and "
        f"the one over items both leave out 0 and Holm's p over all arms and metrics of a set is "
        f"below 0.05; of the two intervals the wider one is shown. Code: {', '.join(versions)}"
    )
    return text + (f" ({changed} with local changes)." if changed else ".")


def final_table(study: Study, records: Sequence[CellRecord], task: str, name: str) -> Table:
    """Every arm's metrics of the whole set, over its seeds."""
    extra = ["chain_sound_greedy", "length_greedy"]
    rows = []
    for arm in study.arms:
        runs = runs_of(records, task, arm, name)
        if not runs:
            continue
        cells = [_mean_cell(records, task, arm, name, metric) for metric in study.shown]
        values = [_final(records, task, arm, name, metric) for metric in extra]
        shown = [_plain(v, share=m != "length_greedy") for m, v in zip(extra, values, strict=True)]
        rows.append(row(arm, TableCell(str(len(runs))), *cells, *shown))
    titles = [find_metric(metric).title for metric in study.shown]
    return Table(
        f"Final measurement: {task}, {name}",
        ["arm", "seeds", *titles, "sound chains, greedy", "tokens, greedy"],
        rows,
        "Percent, means over seeds; beside them the t interval over seeds (one seed: over items).",
    )


def _final(
    records: Sequence[CellRecord], task: str, arm: str, name: str, metric: str
) -> list[float]:
    """The metric of each seed, from the records' own figures."""
    finals = [r.raw["final"][name]["all"] for r in records
              if (r.task, r.arm) == (task, arm) and name in r.records]  # fmt: skip
    return [final[metric] for final in finals if metric in final]


def _plain(values: Sequence[float], *, share: bool) -> TableCell:
    if not values:
        return TableCell(DASH)
    mean = statistics.mean(values)
    return TableCell(percent(mean) if share else f"{mean:.0f}")


def _mean_cell(
    records: Sequence[CellRecord], task: str, arm: str, name: str, metric: str
) -> TableCell:
    values = _final(records, task, arm, name, metric)
    if not values:
        return TableCell(DASH)
    interval = _over(records, task, arm, name, metric) if len(values) == 1 else paired_t(values)
    return TableCell(
        percent(statistics.mean(values)),
        f"[{percent(max(0.0, interval.low))}, {percent(min(1.0, interval.high))}]",
    )


def _over(records: Sequence[CellRecord], task: str, arm: str, name: str, metric: str) -> Interval:
    (items,) = runs_of(records, task, arm, name).values()
    chosen = find_metric(metric)
    values = [chosen.value(Item(r)) for r in items if r.mode == chosen.mode]
    return clustered_mean([value for value in values if value is not None])


def difference_table(title: str, rows: Sequence[Contrast]) -> Table:
    """Arm minus baseline in the whole set."""
    shown = [
        row(
            one.arm,
            find_metric(one.metric).title,
            TableCell(percent(one.base)),
            TableCell(percent(one.value)),
            TableCell(points(one.difference)),
            _interval(one.over_seeds),
            _interval(one.over_items),
            TableCell(DASH if one.p_holm is None else f"{one.p_holm:.2g}"),
            "found" if one.found else "",
        )
        for one in rows
        if one.group == "all"
    ]
    return Table(
        title,
        ["arm", "metric", "baseline", "arm's", "difference", "over seeds", "over items",
         "Holm p", "verdict"],
        shown,
        "Percent and points, paired by seed and item. Over seeds: t of the per-seed differences. "
        "Over items: t of the items' differences, each averaged over the seeds.",
    )  # fmt: skip


def _interval(one: Interval | None) -> TableCell:
    return TableCell(DASH if one is None else limits(one.low, one.high))


def group_table(title: str, rows: Sequence[Contrast]) -> Table:
    """The differences of every stratum and family, a column for each metric."""
    metrics = list(dict.fromkeys(one.metric for one in rows))
    by_place: dict[tuple[str, str], dict[str, Contrast]] = {}
    for one in rows:
        by_place.setdefault((one.group, one.arm), {})[one.metric] = one
    shown = []
    for (group, arm), found in sorted(by_place.items()):
        items = next(iter(found.values())).items
        cells = [_group_cell(found.get(metric)) for metric in metrics]
        shown.append(row(group, arm, TableCell(str(items)), *cells))
    titles = [find_metric(metric).title for metric in metrics]
    return Table(
        title,
        ["group", "arm", "items", *titles],
        shown,
        "The arm's percent, its difference from the baseline and the wider interval.",
    )


def _group_cell(one: Contrast | None) -> TableCell:
    if one is None:
        return TableCell(DASH)
    mark = "; found" if one.found else ""
    return TableCell(percent(one.value), f"{points(one.difference)}, {_span(one)}{mark}")


def cost_table(study: Study, records: Sequence[CellRecord]) -> Table:
    """What a cell of each arm costs on every axis, measuring apart."""
    shown = []
    for arm in study.arms:
        costs = [record.raw["cost"] for record in records if record.arm == arm]
        if costs:
            means = [statistics.mean(cost[axis] for cost in costs) for axis in COSTS]
            shown.append(row(arm, *(TableCell(f"{mean:,.0f}") for mean in means)))
    return Table(
        "Cost of a cell", ["arm", *COSTS.values()], shown, "Means over the cells of an arm."
    )


def figures(study: Study, records: Sequence[CellRecord], folder: Path) -> str:
    """Curves of greedy accuracy over each cost that a curve has; the Markdown that shows them."""
    shown = []
    for task, name in places(records):
        metric = f"eval/{name}/accuracy_greedy"
        curves = _curves(study, records, task, metric)
        if not any(len(curve) > 1 for curve in curves.values()):
            continue
        path = folder / f"curve-{task}-{name.replace(' ', '_')}.svg"
        figure = learning_curves(
            curves,
            title=f"{task}, {name}",
            y_title="greedy accuracy",
            x_title="policy completions",
            arms=list(study.arms),
        )
        try:
            write_image(figure, path)
        except ConfigError as error:
            return f"No figures: {markdown_text(str(error))}"
        shown.append(f"![greedy accuracy over policy completions: {task}, {name}]({path.name})")
    return "\n\n".join(shown)


def _curves(
    study: Study, records: Sequence[CellRecord], task: str, metric: str
) -> Mapping[str, list[Point]]:
    """Arm -> mean over seeds at each place of its curve; the band is lowest to highest seed."""
    curves: dict[str, list[Point]] = {}
    start = _start(study, records, task, metric.split("/")[1])
    for arm in study.arms:
        at: dict[float, list[float]] = {}
        for record in records:
            if (record.task, record.arm) != (task, arm):
                continue
            for point in record.raw["curve"]:
                if metric in point["metrics"]:
                    place = at.setdefault(point["policy_completions"], [])
                    place.append(point["metrics"][metric])
        if at and start:
            at.setdefault(0.0, start)  # supervised steps before it have a point of their own there
        curves[arm] = [Point(x, statistics.mean(y), min(y), max(y)) for x, y in sorted(at.items())]
    return {arm: curve for arm, curve in curves.items() if curve}


def _start(study: Study, records: Sequence[CellRecord], task: str, name: str) -> list[float]:
    """Greedy accuracy before any training, where an arm measures it; the same at every seed."""
    untrained = [arm for arm, own in study.arms.items() if (own.preset or arm) == "zero_shot"]
    values = [v for arm in untrained for v in _final(records, task, arm, name, "accuracy_greedy")]
    return values[:1]
