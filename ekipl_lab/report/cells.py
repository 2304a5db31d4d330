"""Cells and tables of a report, and how numbers are written in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ekipl_lab.evaluation.summary import MetricRow

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class TableCell:
    """A value and, smaller, what belongs to it: intervals, counts, parted by ``; ``.

    ``links`` are (text, anchor on the page), shown last.
    """

    text: str
    small: str = ""
    number: bool = True
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of cells; a row of one cell is a heading within the table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    note: str = ""


def small_parts(cell: TableCell) -> list[str]:
    """What belongs to the value of a cell, part by part; links are their texts."""
    return [*(cell.small.split("; ") if cell.small else []), *(text for text, _ in cell.links)]


def is_number(table: Table, column: int) -> bool:
    """Whether a column holds numbers, by its last row."""
    rows = [row for row in table.rows if len(row) > column and len(row) > 1]
    return bool(rows) and rows[-1][column].number


def percent(value: float) -> str:
    """47.7 for 0.477."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """A signed difference in percentage points."""
    return f"{100 * value:+.1f}".replace("-", MINUS)


def limits(low: float, high: float) -> str:
    """An interval of a difference, in points."""
    return f"[{points(low)}, {points(high)}]"


def value_cell(row: MetricRow | None) -> TableCell:
    """A share in percent with its interval."""
    if row is None:
        return TableCell(DASH)
    return TableCell(percent(row.value), f"[{percent(row.low)}, {percent(row.high)}]")


def plain_cell(row: MetricRow | None) -> TableCell:
    """A value that is not a share."""
    return TableCell(DASH) if row is None else TableCell(f"{row.value:.1f}")
