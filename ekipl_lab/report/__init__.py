"""Reports about runs and evaluations: terminal, a self-contained page, Markdown, LaTeX, CSV.

    runs = gather_runs([run_id, other_id])        # the run without teachers comes first
    print_summary(runs)
    Path("report.html").write_text(build_report(runs))

``gather`` what is read, ``arms`` runs of several seeds, ``metrics`` what is measured; ``tables``,
``seeds``, ``reference``, ``figures``, ``chains``, ``training``, ``provenance``,
``caveats`` what is shown;
``page``, ``export`` how.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ekipl_lab.errors import ConfigError
from ekipl_lab.files import write_text
from ekipl_lab.report import answer
from ekipl_lab.report.arms import arms_of, several_seeds
from ekipl_lab.report.caveats import seeds_note, warnings
from ekipl_lab.report.export import as_csv
from ekipl_lab.report.gather import RunData, check_arms, gather_runs
from ekipl_lab.report.page import all_tables, build_report, page_title
from ekipl_lab.report.provenance import costs
from ekipl_lab.report.seeds import over_seeds
from ekipl_lab.report.tables import headline
from ekipl_lab.tables import as_rich, latex_document, markdown_document, piped


def report_command(names: Sequence[str], out: str | Path) -> int:
    """Print the summary; write page, Markdown, LaTeX and CSV; say where: ``ekipl report``.

    ``names`` are run ids and folders of ``ekipl eval``; ``out`` is the page, the rest lie beside.
    Raises ConfigError where ``out`` does not end in .html.
    """
    check_page(out)
    report_runs(gather_runs(names), out)
    return 0


def check_page(out: str | Path) -> None:
    """ConfigError where the page's name does not end in .html."""
    if Path(out).suffix != ".html":
        raise ConfigError(
            f"The report {str(out)!r} must be named *.html; its tables as .md, .tex and .csv lie "
            "beside it."
        )


def report_runs(runs: Sequence[RunData], out: str | Path) -> None:
    """`report_command` of runs that were read already."""
    print_summary(runs)
    path = write_report(runs, out)
    beside = ", ".join(other.name for other in write_beside(runs, path))
    size = path.stat().st_size / 1e6
    print(f"Report: {path} ({size:.1f} MB, complete in itself); beside it {beside}")


def write_report(runs: Sequence[RunData], out: str | Path) -> Path:
    """Write the page of these runs, whole or not at all."""
    return write_text(Path(out), build_report(runs))


def write_beside(runs: Sequence[RunData], out: str | Path) -> list[Path]:
    """Write all tables as Markdown and LaTeX, and all numbers as CSV, beside the page ``out``."""
    parts = (
        page_title(runs),
        [*answer.answer(runs), seeds_note(runs), *warnings(runs)],
        all_tables(runs),
    )
    texts = {
        ".md": markdown_document(*parts),
        ".tex": latex_document(*parts),
        ".csv": as_csv(runs),
    }
    return [write_text(Path(out).with_suffix(suffix), text) for suffix, text in texts.items()]


def print_summary(runs: Sequence[RunData], console: Console | None = None) -> None:
    """Headline, cost and warnings. Raises ConfigError if nothing was evaluated."""
    check_arms(runs)
    console = console or piped()
    arms = arms_of(runs)
    main = over_seeds(arms) if several_seeds(arms) else headline(runs)
    for table in (*as_rich(main), *as_rich(costs(runs))):
        console.print(table)
        console.print()
    for sentence in answer.in_brief(runs):
        console.print(sentence, markup=False)
        console.print()
    for warning in warnings(runs):
        console.print(f"[bold red]Mind:[/] {escape(warning)}")
    console.print(seeds_note(runs), markup=False)


__all__ = [
    "RunData",
    "build_report",
    "check_page",
    "gather_runs",
    "print_summary",
    "report_command",
    "report_runs",
    "write_beside",
    "write_report",
]
