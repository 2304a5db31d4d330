"""What `ekipl eval` prints and writes: metrics by slice, blind controls, what was forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ekipl_lab.files import csv_text, write_text
from ekipl_lab.types import EvalRecord

if TYPE_CHECKING:
    from ekipl_lab.evaluation.compare import Comparison
    from ekipl_lab.evaluation.job import Job, Measured
    from ekipl_lab.evaluation.summary import Labels, MetricRow

#: Slices that are printed, the first of them in full; metrics.csv has some more.
SLICES = (
    ("task", "split"),
    ("task", "split", "family"),
    ("task", "split", "stratum"),
    ("task", "split", "difficulty"),
)
#: Columns of since_start.csv.
CHANGE_COLUMNS = (
    "mode", "task", "split", "family", "n", "start", "now", "difference", "low", "high",
    "p_holm", "verdict", "left_out",
)  # fmt: skip
MORE_SLICES: tuple[tuple[str, ...], ...] = ((), ("task",), ("split",))


def all_rows(found: Measured, job: Job, labels: Labels) -> list[MetricRow]:
    """Every metric of every slice; chains are checked where the benchmark knows the scene."""
    from ekipl_lab.benchmarks.mini import MINI_TASKS
    from ekipl_lab.benchmarks.mini.chains import check_chain
    from ekipl_lab.evaluation import check_chains, summarize

    known = {s.id for s in found.samples if s.metadata.get("benchmark") == "mini"}
    checked = [r for r in found.records if r.sample_id in known and r.task in MINI_TASKS]
    chains = check_chains(checked, found.samples, check_chain)
    rows: list[MetricRow] = []
    for by in (*MORE_SLICES, *SLICES):
        if "stratum" not in by or labels:
            rows += summarize(found.records, by, job.used_ks, chains=chains, labels=labels)
    return rows


def rows_as_csv(rows: Iterable[MetricRow]) -> str:
    """One line per metric and slice; a slice is written ``family=compare``."""
    columns = ("slice", "metric", "value", "low", "high", "method", "n")
    return csv_text(columns, ([_where(row), *astuple(row)[1:]] for row in rows))


def _where(row: MetricRow) -> str:
    return " ".join(f"{name}={value}" for name, value in row.group.items()) or "all"


def heading(found: Measured, job: Job) -> list[str]:
    """What was measured, how, and what it took."""
    source, params, cost = found.summary["source"], job.params, found.summary["cost"]
    lines = [
        f"{source['kind']} {source['name']} ({source['key']}), scored by {job.scorer}",
        f"{len(found.samples)} samples; at most {params.max_new_tokens} tokens, seed {params.seed}",
    ]
    if "sampled" in job.modes:
        own = "; a teacher's own settings come first" if source["kind"] == "teacher" else ""
        lines.append(
            f"sampled: {job.num_samples} per item, temperature {params.temperature}, top-p "
            f"{params.top_p}, top-k {params.top_k or 'off'}{own}"
        )
    lines.append(
        f"{cost['actions']} actions, {cost['completion_tokens']} tokens written"
        + (f", {cost['usd']:.4f} USD" if cost["usd"] else "")
        + f"; {found.summary['seconds']} s in this process"
    )
    seen = found.summary.get("contamination")
    if seen is not None and seen["overlap"] and not _overlaps(seen["overlap"]):
        lines.append(f"none of these samples or images is in {seen['train']}")
    return lines


def _overlaps(overlap: Mapping[str, int]) -> bool:
    return any(overlap[kind] for kind in ("ids", "items", "images"))


def print_tables(console: Console, rows: Sequence[MetricRow], job: Job) -> None:
    """By set in full, then in short every slice that has several values."""
    for number, by in enumerate(SLICES):
        part = [row for row in rows if tuple(row.group) == by]
        part = [row for row in part if not (row.metric.startswith("missing_") and not row.value)]
        if number == 0:
            console.print(_whole_table(part))
        elif len({row.group[by[-1]] for row in part}) > 1:
            console.print(_short_table(by, part, job))


def _whole_table(rows: Sequence[MetricRow]) -> Table:
    table = _table("by task and split", ("set", "metric", "value", "95 % interval", "n", "method"))
    for row in rows:
        digits = 1 if row.metric.startswith("length_") else 3
        table.add_row(
            escape(" ".join(map(str, row.group.values()))),
            row.metric,
            f"{row.value:.{digits}f}",
            f"{row.low:.{digits}f} to {row.high:.{digits}f}",
            str(row.n),
            row.method,
        )
    return table


def _short_table(by: Sequence[str], rows: Sequence[MetricRow], job: Job) -> Table:
    """Greedy accuracy, pass@k at the smallest and largest k, and the vote; a column each."""
    ends = sorted({min(job.used_ks, default=1), max(job.used_ks, default=1)})
    wanted = ("accuracy_greedy", *(f"pass_at_{k}" for k in ends), "majority_vote")
    metrics = [name for name in wanted if any(row.metric == name for row in rows)]
    varying = [name for name in by if len({row.group[name] for row in rows}) > 1]
    table = _table(f"by {by[-1]}", (*varying, "n", *metrics))
    for key in dict.fromkeys(tuple(row.group.items()) for row in rows):
        found = {row.metric: row for row in rows if tuple(row.group.items()) == key}
        group = dict(key)
        items = max(row.n for row in found.values())
        table.add_row(
            *(escape(str(group[name])) for name in varying),
            str(items),
            *(_span(found.get(name), items) for name in metrics),
        )
    return table


def _span(row: MetricRow | None, items: int) -> str:
    """Value and interval, and over how many items where those are not the row's ``items``."""
    if row is None:
        return ""
    over = "" if row.n == items else f", n={row.n}"
    return f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f}{over})"


def _table(title: str, headings: Iterable[str]) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_controls(console: Console, found: Measured) -> None:
    """Accuracy without the right image, and what the image gave."""
    from ekipl_lab.evaluation.slices import changes_since

    if not found.controls:
        return
    headings = ("set", "control", "blind", "seeing", "difference", "95 % interval", "p")
    table = _table("blind controls", headings)
    for name, records in found.controls.items():
        mode = records[0].mode
        seeing = [record for record in found.records if record.mode == mode]
        for change in changes_since(seeing, records, ("task", "split")):
            one = change.comparison
            table.add_row(
                escape(" ".join(map(str, change.group.values()))), name, f"{one.value_b:.3f}",
                f"{one.value_a:.3f}", f"{one.difference:+.3f}",
                _between(one),
                "" if one.p_value is None else f"{one.p_value:.2g}",
            )  # fmt: skip
    console.print(table)


def _between(one: Comparison) -> str:
    """The interval of a difference; one that is the same on every item has none."""
    return "none: all alike" if one.low == one.high else f"{one.low:+.3f} to {one.high:+.3f}"


def print_changes(console: Console, found: Measured, folder: Path) -> None:
    """What was gained and forgotten since the start, by family, in every mode."""
    from ekipl_lab.evaluation.slices import changes_since

    if not found.start:
        return
    lines: list[list[object]] = []
    headings = ("family", "mode", "start", "now", "difference", "95 % interval", "verdict")
    table = _table("since the start", headings)
    for mode in dict.fromkeys(record.mode for record in found.records):
        now, start = (of_mode(part, mode) for part in (found.records, found.start))
        for change in changes_since(now, start, ("task", "split", "family")):
            one = change.comparison
            where = [str(value) for value in change.group.values()]
            table.add_row(
                escape(" ".join(where)), mode, f"{one.value_b:.3f}", f"{one.value_a:.3f}",
                f"{one.difference:+.3f}", _between(one), change.verdict,
            )  # fmt: skip
            numbers = (one.n, one.value_b, one.value_a, one.difference, one.low, one.high)
            lines.append([mode, *where, *numbers, change.p_holm, change.verdict, change.left_out])
    console.print(table)
    write_text(folder / "since_start.csv", csv_text(CHANGE_COLUMNS, lines))


def of_mode(records: Sequence[EvalRecord], mode: str) -> list[EvalRecord]:
    """The records of one mode."""
    return [record for record in records if record.mode == mode]


def warnings(found: Measured) -> list[str]:
    """What a reader must know beside the numbers."""
    lines = []
    cost = found.summary["cost"]
    if cost["missing"]:
        lines.append(
            f"{cost['missing']} of {cost['actions']} actions were not given by the source; every "
            "accuracy is over those that were. The same command asks for the missing ones again."
        )
    asked = str(found.summary["source"]["facts"].get("asked", ""))
    metric = asked.partition("@best:")[2]
    if set(metric.split("/")[1:2]) & set(found.summary["job"]["splits"]):
        lines.append(
            f"This checkpoint was chosen by {metric}, on a split that it is measured on here: its "
            "accuracy there is too high by the choice. Choose on validation."
        )
    seen = found.summary.get("contamination")
    if seen is not None:
        lines += _overlap_lines(seen)
    return lines


def _overlap_lines(seen: Mapping[str, Any]) -> list[str]:
    overlap = seen["overlap"]
    if overlap is None:
        return [f"Overlap with {seen['train']} was not looked for: too many samples."]
    if _overlaps(overlap):
        return [
            f"{overlap['ids']} samples, {overlap['items']} whole items and {overlap['images']} "
            f"images of {overlap['test']} are in {seen['train']}: such as {overlap['examples'][0]}."
        ]
    return []
