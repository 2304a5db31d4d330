"""The same tables as Markdown and LaTeX, and every number as CSV.

Text that a user or a model chose (names, families, settings) is escaped for each form; a text cell
of the CSV never begins with a sign that a spreadsheet takes for a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from ekipl_lab.evaluation import summarize
from ekipl_lab.report.arms import arms_of
from ekipl_lab.report.gather import RunData
from ekipl_lab.report.overseeds import compare_arms
from ekipl_lab.report.tables import Cell, Table, metrics_of, paired

CSV_COLUMNS = (
    "kind", "arm", "against", "seed", "set", "step", "slice", "metric",
    "value", "low", "high", "n", "method", "p", "p_holm",
)  # fmt: skip
#: Slices of the numbers.
SLICES: tuple[tuple[str, ...], ...] = ((), ("family",), ("difficulty",), ("family", "difficulty"))
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "−": r"$-$", "–": "--", "“": "``", "”": "''",
}  # fmt: skip


def as_markdown(title: str, notes: Sequence[str], tables: Iterable[Table]) -> str:
    """All tables as GitHub Markdown."""
    parts = [f"# {_markdown(title)}", *(_markdown(note) for note in notes)]
    for table in tables:
        head = "| " + " | ".join(_markdown(column) or " " for column in table.columns) + " |"
        align = [":--" if not _is_number(table, i) else "--:" for i in range(len(table.columns))]
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


def as_latex(title: str, notes: Sequence[str], tables: Iterable[Table]) -> str:
    """All tables for ``\\input`` into a paper that loads booktabs and the T1 encoding."""
    parts = [f"% {_one_line(title)}", "% \\usepackage[T1]{fontenc} \\usepackage{booktabs}"]
    parts += [f"% {_one_line(note)}" for note in notes]
    for table in tables:
        columns = "".join("r" if _is_number(table, i) else "l" for i in range(len(table.columns)))
        lines = [
            "\\begin{table}", "\\centering\\small", f"\\caption{{{_latex(table.title)}}}",
            f"\\begin{{tabular}}{{{columns}}}", "\\toprule",
            " & ".join(map(_latex, table.columns)) + " \\\\", "\\midrule",
        ]  # fmt: skip
        for row in table.rows:
            if len(row) == 1:
                text = f"\\emph{{{_latex(row[0].text)}}}"
                lines.append(f"\\multicolumn{{{len(table.columns)}}}{{l}}{{{text}}} \\\\")
            else:
                lines.append(" & ".join(_latex(_whole(cell)) for cell in row) + " \\\\")
        lines += ["\\bottomrule", "\\end{tabular}"]
        lines += [f"\\par\\smallskip\\footnotesize {_latex(table.note)}"] if table.note else []
        parts.append("\n".join([*lines, "\\end{table}"]))
    return "\n\n".join(parts) + "\n"


def as_csv(runs: Sequence[RunData]) -> str:
    """Every metric of every run, set, step and slice, then every difference, one line each.

    ``kind``: ``metric``; ``difference over items`` (one pair of runs, against the first); or
    ``difference over seeds`` (the primary one, where arms have several seeds). Values are shares.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in (*_metric_lines(runs), *_pair_lines(runs), *_seed_lines(runs)):
        writer.writerow([_plain(cell) for cell in row])
    return text.getvalue()


Line = tuple[object, ...]


def _metric_lines(runs: Sequence[RunData]) -> Iterable[Line]:
    for run in runs:
        for name, steps in run.evaluations.items():
            for step, records in steps.items():
                for by in SLICES:
                    for row in summarize(records, by=by, ks=run.sampled_k):
                        where = " ".join(f"{key}={value}" for key, value in row.group.items())
                        yield (
                            "metric", run.label, "", run.config.get("seed", ""), name, step, where,
                            row.metric, row.value, row.low, row.high, row.n, row.method, "", "",
                        )  # fmt: skip


def _pair_lines(runs: Sequence[RunData]) -> Iterable[Line]:
    base = runs[0]
    for run in runs[1:]:
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


def _seed_lines(runs: Sequence[RunData]) -> Iterable[Line]:
    for row in compare_arms(arms_of(runs)):
        if row.result is not None:
            found = row.result
            seeds = " ".join(map(str, found.seeds))
            p = "" if found.p_value is None else found.p_value
            yield (
                "difference over seeds", row.arm, row.base, seeds, row.set, "", "",
                row.metric.name, found.difference, found.low, found.high, len(found.seeds),
                found.method, p, "" if row.p_holm is None else row.p_holm,
            )  # fmt: skip


def _plain(cell: object) -> object:
    """Numbers as they are; a text that begins like a formula gets an apostrophe in front."""
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return cell


def _whole(cell: Cell) -> str:
    small = "; ".join([*filter(None, [cell.small]), *(text for text, _ in cell.links)])
    if not small:
        return cell.text
    return f"{cell.text} {small}" if small.startswith("[") else f"{cell.text} ({small})"


def _is_number(table: Table, column: int) -> bool:
    rows = [row for row in table.rows if len(row) > column and len(row) > 1]
    return bool(rows) and rows[-1][column].number


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    """Text that stays text: no markup, no HTML, no new cell."""
    shown = _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#~!" else sign for sign in shown)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in _one_line(text))
