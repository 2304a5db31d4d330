"""The usefulness of teachers as figures (for a notebook) and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from ekipl_lab.evaluation.summary import Group
from ekipl_lab.evaluation.usefulness import GainRow, SourceRow, Usefulness
from ekipl_lab.plots.figures import source_colours
from ekipl_lab.statistics import Interval

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem;
  color: #202124; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #e6e8eb;
  vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
td:last-child { white-space: normal; }
td small { display: block; color: #5f6368; }
p.note { color: #5f6368; }
"""
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
)

#: What a cell says, and what stands small below it.
Cell = str | tuple[str, str]


def figures(result: Usefulness) -> list[go.Figure]:
    """Accuracy by difficulty; newly solved by difficulty; accuracy against cost."""
    return [
        by_difficulty(result),
        newly_by_difficulty(result),
        accuracy_against_cost(result),
    ]


def by_difficulty(result: Usefulness) -> go.Figure:
    """Accuracy of every source by difficulty, with 95 % intervals."""
    rows = [row for row in result.sources if _names(row.where) == ("task", "difficulty")]
    points = [(row.source, row.where[1][1], row.accuracy) for row in rows]
    return _lines("Accuracy by difficulty", "accuracy", points)


def newly_by_difficulty(result: Usefulness) -> go.Figure:
    """Share of samples that only the teacher solved, by difficulty."""
    rows = [row for row in result.gains if _names(row.where) == ("task", "difficulty")]
    points = [(row.teacher, row.where[1][1], row.newly) for row in rows]
    return _lines("Solved by the teacher and never by the policy", "share of samples", points)


def accuracy_against_cost(result: Usefulness) -> go.Figure:
    """One point per source and task: accuracy against USD per 1,000 actions."""
    rows = [row for row in result.sources if len(row.where) == 1 and row.accuracy is not None]
    colours = source_colours({row.source for row in rows})
    figure = _figure("Accuracy against cost", "USD per 1,000 actions", "accuracy")
    for row in rows:
        assert row.accuracy is not None
        figure.add_scatter(
            x=[1000 * row.cost / max(row.actions, 1)],
            y=[row.accuracy.value],
            error_y=_error([row.accuracy]),
            mode="markers",
            marker={"color": colours[row.source], "size": 10},
            name=escape(f"{row.source} ({row.where[0][1]})"),
        )
    return figure


def page(result: Usefulness, title: str) -> str:
    """The whole page; it needs nothing else, and may load nothing. Names are escaped."""
    drawn = [
        figure.to_html(full_html=False, include_plotlyjs=(number == 0))
        for number, figure in enumerate(figures(result))
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>"
        f"<h2>Recommended gates</h2>{_gains([g for g in result.gains if len(g.where) == 1])}"
        '<p class="note">Measured on a sample of the training split; below a share its 95 % '
        "interval. A sample counts as newly solved if an action of the teacher is right and none "
        "of the policy's is.</p>"
        f"{''.join(drawn)}"
        f"<h2>Sources</h2>{_sources(result.sources)}"
        '<p class="note">Accuracy is that of one action (pass@1). Length in tokens of the policy. '
        "Wrong chains: share of the right answers whose reasoning is not sound, where that can be "
        "checked. USD: price of all actions of the row.</p>"
        f"<h2>Teachers beside the policy, by slice</h2>{_gains(result.gains)}"
        f"{_overlaps(result)}</body></html>"
    )


def _gains(rows: Sequence[GainRow]) -> str:
    headings = ["slice", "teacher", "samples", "policy fails", "newly solved", "only policy"]
    cells: list[list[Cell]] = [
        [
            _where(row.where),
            row.teacher,
            str(row.samples),
            str(row.policy_unsolved),
            _interval(row.newly),
            str(row.only_policy),
            "-" if row.cost_per_new is None else f"{row.cost_per_new:.4f}",
            row.gate,
            row.reason,
        ]
        for row in rows
    ]
    return _table([*headings, "USD per new", "gate", "why"], cells)


def _sources(rows: Sequence[SourceRow]) -> str:
    ks = sorted({k for row in rows for k in row.pass_at} - {1})
    headings = ["slice", "source", "samples", "no answer", "accuracy"]
    headings += [f"pass@{k}" for k in ks]
    headings += ["format failures", "cut off", "length", "wrong chains", "USD"]
    cells: list[list[Cell]] = [
        [
            _where(row.where),
            row.source,
            str(row.samples),
            str(row.unanswered),
            _interval(row.accuracy),
            *(_interval(row.pass_at.get(k)) for k in ks),
            _share(row.format_failure),
            _share(row.truncated),
            "-" if row.length is None else f"{row.length:.1f}",
            _interval(row.wrong_chains),
            f"{row.cost:.4f}",
        ]
        for row in rows
    ]
    return _table(headings, cells)


def _overlaps(result: Usefulness) -> str:
    if not result.overlaps:
        return ""
    cells: list[list[Cell]] = [
        [
            row.first,
            row.second,
            *(str(n) for n in (row.both, row.only_first, row.only_second, row.neither)),
            _share(row.jaccard),
        ]
        for row in result.overlaps
    ]
    headings = ["first", "second", "both", "only first", "only second", "neither", "both / either"]
    return f"<h2>Overlap of the teachers</h2>{_table(headings, cells)}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    return f"{escape(cell[0])}<small>{escape(cell[1])}</small>"


def _lines(
    title: str, y_title: str, points: Sequence[tuple[str, str | int, Interval | None]]
) -> go.Figure:
    names = list(dict.fromkeys(name for name, _, _ in points))
    colours = source_colours(set(names))
    figure = _figure(title, "difficulty", y_title)
    for name in names:
        own = [(x, y) for source, x, y in points if source == name and y is not None]
        figure.add_scatter(
            x=[x for x, _ in own],
            y=[y.value for _, y in own],
            error_y=_error([y for _, y in own]),
            mode="lines+markers",
            line={"color": colours[name]},
            name=escape(name),
        )
    figure.update_xaxes(dtick=1)
    return figure


def _figure(title: str, x_title: str, y_title: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        title=title, template="plotly_white", height=380, yaxis={"range": [-0.02, 1.05]}
    )
    figure.update_xaxes(title=x_title)
    figure.update_yaxes(title=y_title)
    return figure


def _error(values: Sequence[Interval]) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [value.high - value.value for value in values],
        "arrayminus": [value.value - value.low for value in values],
        "thickness": 1,
    }


def _names(where: Group) -> tuple[str, ...]:
    return tuple(name for name, _ in where)


def _where(where: Group) -> str:
    """The task's name, then what narrows it."""
    return ", ".join(str(v) if name == "task" else f"{name} {v}" for name, v in where)


def _interval(value: Interval | None) -> Cell:
    return "-" if value is None else (f"{value.value:.3f}", f"{value.low:.3f} to {value.high:.3f}")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
