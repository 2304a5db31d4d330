"""The tables of a report as LaTeX: booktabs, never wider than the line.

What stands small under a number (interval, p) is stacked under it, long texts are set as
paragraphs, and a table that is still too wide is scaled down to the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ekipl_lab.report.cells import Table, TableCell, is_number, small_parts

PACKAGES = r"\usepackage[T1]{fontenc} \usepackage{booktabs,graphicx}"
#: Texts longer than this become paragraphs of at most so many characters' width.
_LONG = 24
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "−": r"$-$", "–": "--", "“": "``", "”": "''",
}  # fmt: skip
#: The last character that T1 fonts are sure to have; others are named by their code.
_LAST = "\u017f"


def as_latex(title: str, notes: Sequence[str], tables: Iterable[Table]) -> str:
    """All tables for ``\\input`` into a paper that loads ``PACKAGES``."""
    parts = [f"% {_one_line(title)}", f"% {PACKAGES}", *(f"% {_one_line(note)}" for note in notes)]
    return "\n\n".join([*parts, *map(_table, tables)]) + "\n"


def _table(table: Table) -> str:
    lines = [
        "\\begin{table}", "\\centering\\small", f"\\caption{{{escaped(table.title)}}}", _FIT,
        f"\\begin{{tabular}}{{{''.join(_columns(table))}}}", "\\toprule",
        " & ".join(map(escaped, table.columns)) + " \\\\", "\\midrule",
    ]  # fmt: skip
    for row in table.rows:
        if len(row) == 1:
            text = f"\\emph{{{escaped(row[0].text)}}}"
            lines.append(f"\\multicolumn{{{len(table.columns)}}}{{l}}{{{text}}} \\\\")
        else:
            lines.append(" & ".join(map(_cell, row)) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}}"]
    if table.note:
        lines.append(f"\\par\\smallskip\\footnotesize {escaped(table.note)}")
    return "\n".join([*lines, "\\end{table}"])


def _columns(table: Table) -> list[str]:
    """r for numbers, l for short texts, a paragraph for long ones."""
    found = []
    for index, column in enumerate(table.columns):
        texts = [row[index].text for row in table.rows if len(row) > index and len(row) > 1]
        longest = max(map(len, [column, *texts]), default=0)
        wide = f"p{{{0.5 * min(longest, 2 * _LONG):.1f}em}}"
        found.append("r" if is_number(table, index) else "l" if longest <= _LONG else wide)
    return found


def _cell(cell: TableCell) -> str:
    lines = [escaped(cell.text), *(f"\\scriptsize {escaped(part)}" for part in small_parts(cell))]
    if len(lines) == 1:
        return lines[0]
    side = "r" if cell.number else "l"
    stacked = "\\\\".join(lines)
    return f"\\begin{{tabular}}[t]{{@{{}}{side}@{{}}}}{stacked}\\end{{tabular}}"


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is: no command, no cell, no sign that a T1 font lacks."""
    return "".join(_SIGNS.get(sign) or _known(sign) for sign in _one_line(text))


def _known(sign: str) -> str:
    return sign if sign <= _LAST and sign.isprintable() else f"[U+{ord(sign):04X}]"


def _one_line(text: str) -> str:
    return " ".join(text.split())
