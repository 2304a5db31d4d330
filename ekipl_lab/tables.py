"""Tables: one value, written as HTML, Markdown, LaTeX, CSV or on a terminal.

    table = Table("Results", ["arm", "accuracy"], [row("grpo", TableCell("47.7", "[40.1, 55.4]"))])
    as_html(table), as_markdown(table), as_latex(table), as_rich(table)

Texts come from users and models: every form escapes them, so that they stay text.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from rich.console import Console
from rich.markup import escape as rich_escape
from rich.table import Table as RichTable

#: Characters of a line of a table in a pipe or file.
PIPED_WIDTH = 1000
_CODE = re.compile(r"`([^`]+)`")
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


class _Output(Console):
    """A console that leaves a pipe whose reader has left to the command line's exit code 141."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def piped() -> Console:
    """Standard output; where it is no terminal, lines as wide as they need: no word is broken."""
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return _Output(width=PIPED_WIDTH if wide else None)


@dataclass(frozen=True, slots=True)
class TableCell:
    """A value and, smaller, what belongs to it: intervals, counts, parted by ``; ``.

    ``links`` are (text, anchor on the page), shown last.
    """

    text: str
    small: str = ""
    number: bool = True
    links: tuple[tuple[str, str], ...] = ()

    @property
    def parts(self) -> list[str]:
        """What belongs to the value, part by part; links are their texts."""
        small = self.small.split("; ") if self.small else []
        return [*small, *(text for text, _ in self.links)]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of cells; a row of one cell is a heading within the table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    note: str = ""

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers, by its last row."""
        last = next((row for row in reversed(self.rows) if len(row) > 1), ())
        return [i < len(last) and last[i].number for i in range(len(self.columns))]


def row(*cells: str | TableCell) -> list[TableCell]:
    """Cells of one row; plain strings are cells of text. A single one is a heading."""
    return [TableCell(cell, number=False) if isinstance(cell, str) else cell for cell in cells]


def percent(value: float) -> str:
    """47.7 for 0.477."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """A signed difference in percentage points."""
    return f"{100 * value:+.1f}".replace("-", MINUS)


def limits(low: float, high: float) -> str:
    """An interval of a difference, in points."""
    return f"[{points(low)}, {points(high)}]"


def share_cell(value: float, low: float, high: float) -> TableCell:
    """A share in percent with its interval."""
    return TableCell(percent(value), f"[{percent(low)}, {percent(high)}]")


# ---------------------------------------------------------------------------------------- HTML


def as_html(table: Table, title: bool = True) -> str:
    """A table element with its title and note; empty for a table without rows.

    Numbers have the class ``num``, headings within the table ``part``.
    """
    if not table.rows:
        return ""
    pairs = zip(table.columns, table.numeric, strict=True)
    head = "".join(f"<th{_num(number)}>{escape(text)}</th>" for text, number in pairs)
    span = len(table.columns)
    body = "\n".join(
        f'<tr class="part"><th colspan="{span}">{escape(cells[0].text)}</th></tr>'
        if len(cells) == 1
        else f"<tr>{''.join(map(_html_cell, cells))}</tr>"
        for cells in table.rows
    )
    above = f"<h3>{escape(table.title)}</h3>\n" if title and table.title else ""
    below = f'\n<p class="note">{as_code(table.note)}</p>' if table.note else ""
    name = escape(table.title or "Table", quote=True)
    return (
        f'{above}<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>{below}"
    )


def _num(number: bool) -> str:
    return ' class="num"' if number else ""


def _html_cell(cell: TableCell) -> str:
    small = [as_code(part) for part in cell.small.split("; ")] if cell.small else []
    if cell.links:
        small.append(", ".join(_html_link(*link) for link in cell.links))
    below = "".join(f" <small>{part}</small>" for part in small)
    return f"<td{_num(cell.number)}>{as_code(cell.text)}{below}</td>"


def as_code(text: str) -> str:
    """Text as HTML; what stands between backticks is set as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _html_link(text: str, anchor: str) -> str:
    return f'<a href="#{escape(anchor)}">{escape(text)}</a>' if anchor else escape(text)


# ------------------------------------------------------------------------------------ Markdown


def as_markdown(table: Table) -> str:
    """A heading, a GitHub table and the note; no text becomes markup. Empty without rows."""
    if not table.rows:
        return ""
    lines = []
    for cells in table.rows:
        texts = [markdown_text(text_of(cell)) for cell in cells]
        heading = [f"**{texts[0]}**", *[""] * (len(table.columns) - 1)]
        lines.append(heading if len(texts) == 1 else texts)
    columns = [markdown_text(column) or " " for column in table.columns]
    numeric = [index for index, number in enumerate(table.numeric) if number]
    text = f"## {markdown_text(table.title)}\n\n{pipe_table(columns, lines, numeric)}"
    return f"{text}\n\n{markdown_text(table.note)}" if table.note else text


def markdown_document(title: str, notes: Iterable[str], tables: Iterable[Table]) -> str:
    """Title, notes and tables as one Markdown text."""
    head = [f"# {markdown_text(title)}", *map(markdown_text, notes)]
    return "\n\n".join([*head, *filter(None, map(as_markdown, tables))]) + "\n"


def pipe_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    numeric: Collection[int] | None = None,
) -> str:
    """A Markdown table of texts that are Markdown already; numeric columns stand right."""
    rule = "|".join(
        " --- " if numeric is None else "--:" if index in numeric else ":--"
        for index in range(len(columns))
    )
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, *rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def text_of(cell: TableCell) -> str:
    """A cell as one text: its value, and behind it what belongs to it."""
    small = "; ".join(cell.parts)
    if not small:
        return cell.text
    return f"{cell.text} {small}" if small.startswith("[") else f"{cell.text} ({small})"


def markdown_text(text: str) -> str:
    """Text that stays text in Markdown: no markup, no HTML, no new cell."""
    shown = escape(_one_line(text), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#~!" else sign for sign in shown)


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --------------------------------------------------------------------------------------- LaTeX

#: What a paper loads that takes these tables with ``\\input``.
PACKAGES = r"\usepackage[T1]{fontenc} \usepackage{booktabs,graphicx}"
#: Texts longer than this become paragraphs of at most twice so many characters' width.
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


def as_latex(table: Table) -> str:
    """A booktabs table, never wider than the line; small parts are stacked under their value."""
    lines = [
        "\\begin{table}", "\\centering\\small", f"\\caption{{{latex_text(table.title)}}}", _FIT,
        f"\\begin{{tabular}}{{{''.join(_latex_columns(table))}}}", "\\toprule",
        " & ".join(map(latex_text, table.columns)) + " \\\\", "\\midrule",
    ]  # fmt: skip
    for cells in table.rows:
        if len(cells) == 1:
            text = f"\\emph{{{latex_text(cells[0].text)}}}"
            lines.append(f"\\multicolumn{{{len(table.columns)}}}{{l}}{{{text}}} \\\\")
        else:
            lines.append(" & ".join(map(_latex_cell, cells)) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}}"]
    if table.note:
        lines.append(f"\\par\\smallskip\\footnotesize {latex_text(table.note)}")
    return "\n".join([*lines, "\\end{table}"])


def latex_document(title: str, notes: Iterable[str], tables: Iterable[Table]) -> str:
    """Tables for ``\\input`` into a paper that loads ``PACKAGES``; title and notes as comments."""
    comments = [f"% {_one_line(line)}" for line in (title, PACKAGES, *notes)]
    return "\n\n".join([*comments, *map(as_latex, tables)]) + "\n"


def _latex_columns(table: Table) -> list[str]:
    """r for numbers, l for short texts, a paragraph for long ones."""
    found = []
    for index, (column, number) in enumerate(zip(table.columns, table.numeric, strict=True)):
        texts = [cells[index].text for cells in table.rows if len(cells) > 1]
        longest = max(map(len, [column, *texts]))
        wide = f"p{{{0.5 * min(longest, 2 * _LONG):.1f}em}}"
        found.append("r" if number else "l" if longest <= _LONG else wide)
    return found


def _latex_cell(cell: TableCell) -> str:
    small = [f"\\scriptsize {latex_text(part)}" for part in cell.parts]
    if not small:
        return latex_text(cell.text)
    side, stacked = "r" if cell.number else "l", "\\\\".join([latex_text(cell.text), *small])
    return f"\\begin{{tabular}}[t]{{@{{}}{side}@{{}}}}{stacked}\\end{{tabular}}"


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is: no command, no cell, no sign that a T1 font lacks."""
    return "".join(_SIGNS.get(sign) or _latex_sign(sign) for sign in _one_line(text))


def _latex_sign(sign: str) -> str:
    return sign if sign <= _LAST and sign.isprintable() else f"[U+{ord(sign):04X}]"


# --------------------------------------------------------------------------- terminal and CSV


def as_rich(table: Table) -> list[RichTable]:
    """Tables for a rich console: one for each heading within the table."""
    shown: list[RichTable] = []
    for cells in table.rows:
        if len(cells) == 1 or not shown:
            shown.append(_rich_head(table, cells[0].text if len(cells) == 1 else table.title))
        if len(cells) > 1:
            shown[-1].add_row(*map(_rich_cell, cells))
    return shown


def _rich_head(table: Table, title: str) -> RichTable:
    head = RichTable(
        title=rich_escape(title) or None, title_justify="left", title_style="bold", box=None
    )
    for index, number in enumerate(table.numeric):
        head.add_column(
            rich_escape(table.columns[index]), justify="right" if index and number else "left"
        )
    return head


def _rich_cell(cell: TableCell) -> str:
    small = [f"[dim]{rich_escape(part)}[/]" for part in cell.parts]
    return "\n".join([rich_escape(cell.text), *small])


def as_csv(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Comma-separated values; None is an empty cell.

    A text never begins with a sign that a spreadsheet takes for a formula: it gets an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *([_csv_cell(cell) for cell in cells] for cells in rows)])
    return text.getvalue()


def _csv_cell(cell: object) -> object:
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return cell
