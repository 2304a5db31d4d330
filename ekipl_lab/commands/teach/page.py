"""The usefulness of teachers as tables, figures (for a notebook) and one self-contained page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from ekipl_lab.evaluation.summary import Group
from ekipl_lab.evaluation.usefulness import GainRow, SourceRow, Usefulness
from ekipl_lab.plots.figures import Point, scatter, source_lines
from ekipl_lab.plots.page import html_page
from ekipl_lab.statistics import Interval
from ekipl_lab.tables import Table, TableCell, as_html, row


def figures(result: Usefulness) -> list[go.Figure]:
    """Accuracy by difficulty; newly solved by difficulty; accuracy against cost."""
    return [
        _by_difficulty(
            "Accuracy by difficulty",
            "accuracy",
            [(one.source, one.where, one.accuracy) for one in result.sources],
        ),
        _by_difficulty(
            "Solved by the teacher and never by the policy",
            "share of samples",
            [(one.teacher, one.where, one.newly) for one in result.gains],
        ),
        _against_cost(result),
    ]


def _by_difficulty(
    title: str, y_title: str, values: Iterable[tuple[str, Group, Interval | None]]
) -> go.Figure:
    """A line for each source, with 95 % intervals."""
    curves: dict[str, list[Point]] = {}
    for source, where, value in values:
        if [name for name, _ in where] == ["task", "difficulty"] and value is not None:
            curves.setdefault(source, []).append(_point(int(where[1][1]), value))
    figure = source_lines(curves, title=title, y_title=y_title, x_title="difficulty")
    figure.update_yaxes(range=[-0.02, 1.05])
    return figure.update_xaxes(dtick=1)


def _against_cost(result: Usefulness) -> go.Figure:
    """One point per source and task: accuracy against USD per 1,000 actions."""
    places = [
        (
            one.source,
            f"{one.source} ({one.where[0][1]})",
            _point(1000 * one.cost / max(one.actions, 1), one.accuracy),
        )
        for one in result.sources
        if len(one.where) == 1 and one.accuracy is not None
    ]
    titles = {"x_title": "USD per 1,000 actions", "y_title": "accuracy"}
    return scatter(places, title="Accuracy against cost", **titles).update_yaxes(
        range=[-0.02, 1.05]
    )


def _point(x: float, value: Interval) -> Point:
    return Point(x, value.value, value.low, value.high)


def page(result: Usefulness, title: str) -> str:
    """The whole page; it needs nothing else, and may load nothing. Names are escaped."""
    per_task = [gain for gain in result.gains if len(gain.where) == 1]
    parts: list[Table | go.Figure] = [
        gains(
            "Recommended gates",
            per_task,
            "Measured on a sample of the training split; below a share its 95 % interval. A sample "
            "counts as newly solved if an action of the teacher is right and none of the policy's "
            "is.",
        ),
        *figures(result),
        sources(result.sources),
        gains("Teachers beside the policy, by slice", result.gains),
        overlaps(result),
    ]
    return html_page(title, [as_html(one) if isinstance(one, Table) else one for one in parts])


def gains(title: str, rows: Sequence[GainRow], note: str = "") -> Table:
    """What each teacher adds to the policy, what that costs, and the gate recommended."""
    headings = ["slice", "teacher", "samples", "policy fails", "newly solved", "only policy"]
    shown = [
        row(
            _where(one.where),
            one.teacher,
            str(one.samples),
            str(one.policy_unsolved),
            _interval(one.newly),
            str(one.only_policy),
            _number(one.cost_per_new, 4),
            one.gate,
            one.reason,
        )
        for one in rows
    ]
    return Table(title, [*headings, "USD per new", "gate", "why"], shown, note)


def gates(result: Usefulness) -> Table:
    """The recommendation per task and teacher, for a terminal."""
    accuracy = {(one.source, one.where): one.accuracy for one in result.sources}
    rows = []
    for one in result.gains:
        if len(one.where) == 1:
            own = accuracy[one.teacher, one.where]
            solved = f"{one.newly_solved} of {one.samples}"
            share = _number(None if own is None else own.value, 2)
            cost = _number(one.cost_per_new, 4)
            rows.append(row(str(one.where[0][1]), one.teacher, share, solved, cost, one.gate))
    headings = ["task", "teacher", "accuracy", "newly solved", "USD per new", "gate"]
    return Table("", headings, rows)


def sources(rows: Sequence[SourceRow]) -> Table:
    """Each source on each slice: accuracy, pass@k, format, length, wrong chains, price."""
    ks = sorted({k for one in rows for k in one.pass_at} - {1})
    headings = ["slice", "source", "samples", "no answer", "accuracy"]
    headings += [f"pass@{k}" for k in ks]
    shown = [
        row(
            _where(one.where),
            one.source,
            str(one.samples),
            str(one.unanswered),
            _interval(one.accuracy),
            *(_interval(one.pass_at.get(k)) for k in ks),
            _number(one.format_failure, 3),
            _number(one.truncated, 3),
            _number(one.length, 1),
            _interval(one.wrong_chains),
            f"{one.cost:.4f}",
        )
        for one in rows
    ]
    return Table(
        "Sources",
        [*headings, "format failures", "cut off", "length", "wrong chains", "USD"],
        shown,
        "Accuracy is that of one action (pass@1). Length in tokens of the policy. Wrong chains: "
        "share of the right answers whose reasoning is not sound, where that can be checked. USD: "
        "price of all actions of the row.",
    )


def overlaps(result: Usefulness) -> Table:
    """Samples that two teachers both solve, one alone, or neither."""
    headings = ["first", "second", "both", "only first", "only second", "neither", "both / either"]
    rows = [
        row(
            one.first,
            one.second,
            *map(str, (one.both, one.only_first, one.only_second, one.neither)),
            _number(one.jaccard, 3),
        )
        for one in result.overlaps
    ]
    return Table("Overlap of the teachers", headings, rows)


def _where(where: Group) -> str:
    """The task's name, then what narrows it."""
    return ", ".join(str(v) if name == "task" else f"{name} {v}" for name, v in where)


def _interval(value: Interval | None) -> str | TableCell:
    if value is None:
        return "-"
    return TableCell(f"{value.value:.3f}", f"{value.low:.3f} to {value.high:.3f}", number=False)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
