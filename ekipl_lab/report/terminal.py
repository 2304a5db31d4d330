"""The same headline on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from ekipl_lab.report import across_seeds, provenance, tables
from ekipl_lab.report.arms import arms_of, several_seeds
from ekipl_lab.report.cells import Table, TableCell, small_parts
from ekipl_lab.report.gather import RunData, check_arms


def print_summary(runs: Sequence[RunData], console: Console | None = None) -> None:
    """Headline, cost and warnings. Raises ConfigError if nothing was evaluated."""
    check_arms(runs)
    console = console or Console()
    arms = arms_of(runs)
    main = across_seeds.over_seeds(arms) if several_seeds(arms) else tables.headline(runs)
    for table in (main, provenance.costs(runs)):
        for heading, rows in _parts(table):
            console.print(_rich(heading, table.columns, rows))
            console.print()
    for warning in provenance.warnings(runs):
        console.print(f"[bold red]Mind:[/] {escape(warning)}")
    console.print(provenance.seeds_note(runs), markup=False)


def _parts(table: Table) -> list[tuple[str, list[Sequence[TableCell]]]]:
    """A table cut at the headings within it."""
    parts: list[tuple[str, list[Sequence[TableCell]]]] = []
    for row in table.rows:
        if len(row) == 1 or not parts:
            parts.append((row[0].text if len(row) == 1 else table.title, []))
        if len(row) > 1:
            parts[-1][1].append(row)
    return parts


def _rich(heading: str, columns: Sequence[str], rows: Sequence[Sequence[TableCell]]) -> RichTable:
    shown = RichTable(title=escape(heading), title_justify="left", title_style="bold", box=None)
    for index, column in enumerate(columns):
        shown.add_column(escape(column), justify="left" if index == 0 else "right")
    for row in rows:
        shown.add_row(*(_cell(cell) for cell in row))
    return shown


def _cell(cell: TableCell) -> str:
    lines = [escape(cell.text), *(f"[dim]{escape(part)}[/]" for part in small_parts(cell))]
    return "\n".join(lines)
