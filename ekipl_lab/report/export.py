"""The same tables as Markdown, and every number as CSV.

Text that a user or a model chose (names, families, settings) is escaped for each form; a text cell
of the CSV never begins with a sign that a spreadsheet takes for a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from ekipl_lab.evaluation import summarize
from ekipl_lab.evaluation.summary import Labels, MetricRow
from ekipl_lab.report.across_seeds import compare_arms
from ekipl_lab.report.arms import arms_of, common_seeds, several_seeds
from ekipl_lab.report.breakdown import chain_checks, strata
from ekipl_lab.report.cells import Table, TableCell, is_number, small_parts
from ekipl_lab.report.gather import RunData
from ekipl_lab.report.seed_slices import compare_slices
from ekipl_lab.report.tables import metrics_of, paired

CSV_COLUMNS = (
    "kind", "arm", "against", "seed", "set", "step", "slice", "metric",
    "value", "low", "high", "n", "method", "p", "p_holm",
)  # fmt: skip
#: Slices of the numbers; by stratum too where a start was measured.
SLICES: tuple[tuple[str, ...], ...] = ((), ("family",), ("difficulty",), ("family", "difficulty"))


def as_markdown(title: str, notes: Sequence[str], tables: Iterable[Table]) -> str:
    """All tables as GitHub Markdown."""
    parts = [f"# {_markdown(title)}", *(_markdown(note) for note in notes)]
    for table in tables:
        head = "| " + " | ".join(_markdown(column) or " " for column in table.columns) + " |"
        align = [":--" if not is_number(table, i) else "--:" for i in range(len(table.columns))]
        lines = [f"## {_markdown(table.title)}", "", head, "|" + "|".join(align) + "|"]
        for row in table.rows:
            cells = [_markdown(_whole(cell)) for cell in row]
            if len(row) == 1:
                cells = [f"**{cells[0]}**", *[""] * (len(table.columns) - 1)]
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
        if table.note:
            parts.append(_markdown(table.note))
    return "\n\n".join(parts) + "\n"


def as_csv(runs: Sequence[RunData]) -> str:
    """Every metric of every run, set, step and slice, then every difference, one line each.

    ``kind``: ``metric``; ``difference over items`` (one pair of runs of one seed, against the first
    arm; or, in slices, all seeds of an item averaged); or ``difference over seeds`` (the primary
    one, where arms have several seeds). Values are shares. Chains are checked of the completions
    that the page checks: greedy ones, or sampled ones where a run has no others.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    lines = (*_metric_lines(runs), *_pair_lines(runs), *_seed_lines(runs), *_slice_lines(runs))
    for row in lines:
        writer.writerow([_plain(cell) for cell in row])
    return text.getvalue()


Line = tuple[object, ...]


def _metric_lines(runs: Sequence[RunData]) -> Iterable[Line]:
    labels = strata(runs)
    for run in runs:
        for name, steps in run.evaluations.items():
            for step in steps:
                for row in _measured(run, name, step, labels):
                    where = " ".join(f"{key}={value}" for key, value in row.group.items())
                    yield (
                        "metric", run.label, "", run.config.get("seed", ""), name, step, where,
                        row.metric, row.value, row.low, row.high, row.n, row.method, "", "",
                    )  # fmt: skip


def _measured(run: RunData, name: str, step: int, labels: Labels) -> Iterable[MetricRow]:
    """Every metric of a set at a step in every slice; items without a stratum are in none."""
    mode = "greedy" if run.ends(name, "greedy") else "sampled"
    chains = chain_checks(run.records(name, step, mode))
    for by in (*SLICES, ("stratum",)) if labels else SLICES:
        rows = summarize(
            run.evaluations[name][step], by=by, ks=run.sampled_k, chains=chains, labels=labels
        )
        yield from (row for row in rows if row.group.get("stratum") != "")


def _pair_lines(runs: Sequence[RunData]) -> Iterable[Line]:
    for base, run in _pairs(runs):
        for name in run.evaluations:
            for metric in metrics_of(runs):
                mine, theirs = run.ends(name, metric.mode), base.ends(name, metric.mode)
                if mine is None or theirs is None:
                    continue
                pair = paired(
                    run.records(name, mine[1], metric.mode),
                    base.records(name, theirs[1], metric.mode),
                    metric,
                )
                if pair is not None:
                    value, low, high, count = pair
                    yield (
                        "difference over items", run.label, base.label, run.config.get("seed", ""),
                        name, mine[1], "", metric.name, value, low, high, count, "t over items",
                        "", "",
                    )  # fmt: skip


def _pairs(runs: Sequence[RunData]) -> list[tuple[RunData, RunData]]:
    """Each run and what it is compared with: of the first arm, the run of the same seed."""
    first, *others = arms_of(runs)
    if not several_seeds([first, *others]):
        return [(runs[0], run) for run in runs[1:]]
    return [
        (first.runs[seed], arm.runs[seed]) for arm in others for seed in common_seeds(first, arm)
    ]


def _seed_lines(runs: Sequence[RunData]) -> Iterable[Line]:
    for row in compare_arms(arms_of(runs)):
        if row.result is not None:
            found = row.result
            seeds = " ".join(map(str, found.seeds))
            yield (
                "difference over seeds", row.arm, row.base, seeds, row.set, "", "",
                row.metric.name, found.difference, found.low, found.high, len(found.seeds),
                found.method, _or_empty(found.p_value), _or_empty(row.p_holm),
            )  # fmt: skip


def _slice_lines(runs: Sequence[RunData]) -> Iterable[Line]:
    """Differences within slices: over seeds, then over items averaged over the seeds."""
    arms = arms_of(runs)
    if not several_seeds(arms):
        return
    for by in ("family", "stratum", "difficulty"):
        for row in compare_slices(arms, by):
            found, items = row.result, row.over_items
            head = (row.arm, row.base, " ".join(map(str, found.seeds)), row.set, "")
            where = (f"{by}={found.group[by]}", row.metric)
            yield (
                "difference over seeds", *head, *where, found.difference, found.low, found.high,
                len(found.seeds), found.method, _or_empty(found.p_value), _or_empty(found.p_holm),
            )  # fmt: skip
            if items is not None:
                yield (
                    "difference over items", *head, *where, items.value, items.low, items.high,
                    row.items, "t over items, each the mean of its seeds", "", "",
                )  # fmt: skip


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


def _plain(cell: object) -> object:
    """Numbers as they are; a text that begins like a formula gets an apostrophe in front."""
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return cell


def _whole(cell: TableCell) -> str:
    small = "; ".join(small_parts(cell))
    if not small:
        return cell.text
    return f"{cell.text} {small}" if small.startswith("[") else f"{cell.text} ({small})"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    """Text that stays text: no markup, no HTML, no new cell."""
    shown = _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#~!" else sign for sign in shown)
