"""The page of a study, made of its records alone: answer in words, tables, figures.

`answer` says no more than the intervals do: a difference is named only where `Contrast.found`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from ekipl_lab.evaluation import find_metric
from ekipl_lab.files import write_text
from ekipl_lab.studies.config import Study
from ekipl_lab.studies.contrasts import Contrast, contrasts
from ekipl_lab.studies.equal_cost import at_equal_cost, equal_cost_table
from ekipl_lab.studies.page_figures import figures, start_of
from ekipl_lab.studies.page_tables import (
    cost_table,
    difference_table,
    final_table,
    final_values,
    group_table,
    places,
    span,
)
from ekipl_lab.studies.record import CellRecord
from ekipl_lab.studies.registered import (
    Tested,
    registered_answer,
    registered_contrasts,
    registered_table,
)
from ekipl_lab.studies.sources import sources_section
from ekipl_lab.tables import as_markdown, markdown_text, percent, points


def write_page(study: Study, records: Sequence[CellRecord], planned: int, folder: Path) -> Path:
    """Write ``README.md`` and its figures; where figures cannot be drawn, the page says why."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = all_contrasts(study, records)
    parts = [f"# Study {markdown_text(study.name)}"]
    parts += [markdown_text(study.question)] if study.question else []
    tested = registered_contrasts(study, records)
    parts += ["\n".join(answer(study, records, rows, tested)), state(study, records, planned)]
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
    start = start_of(study, records, task, name)
    starts = {one.seed: start[0] for one in records} if start else {}
    rows = at_equal_cost(study, records, task, metric, starts)
    title = f"At equal cost: {task}, {name}"
    return [as_markdown(equal_cost_table(title, "accuracy_greedy", rows))] if rows else []


def answer(
    study: Study,
    records: Sequence[CellRecord],
    rows: Sequence[Contrast],
    tested: Sequence[Tested] = (),
) -> list[str]:
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
                base = statistics.mean(final_values(records, task, study.baseline, name, metric))
                said = _said(here, base)
                lines.append(f"- **{task}, {name}, {find_metric(metric).title}**: {said}")
    return lines


def _said(here: Sequence[Contrast], base: float) -> str:
    found = [one for one in here if one.found]
    rest = [one for one in here if not one.found]
    parts = [
        f"{markdown_text(one.arm)} is {'above' if one.difference > 0 else 'below'} by "
        f"{points(abs(one.difference))[1:]} points ({span(one)})"
        for one in sorted(found, key=lambda one: -one.difference)
    ]
    if single := [one for one in rest if one.over_seeds is None]:
        names = ", ".join(f"{markdown_text(one.arm)} {points(one.difference)}" for one in single)
        parts.append(f"with one seed nothing can be said of other seeds ({names})")
    if unsure := [one for one in rest if one.over_seeds is not None]:
        names = ", ".join(
            f"{markdown_text(one.arm)} {points(one.difference)} ({span(one)})" for one in unsure
        )
        parts.append(f"not told apart from it: {names}")
    return f"the baseline has {percent(base)} %; " + "; ".join(parts) + "."


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
