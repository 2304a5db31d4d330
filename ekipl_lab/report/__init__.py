"""Reports about runs and evaluations: terminal, a self-contained page, Markdown, LaTeX, CSV.

    runs = gather_runs([run_id, other_id])        # the run without teachers comes first
    print_summary(runs)
    Path("report.html").write_text(build_report(runs))

``gather`` what is read, ``arms`` runs of several seeds; ``across_seeds``, ``seed_slices``,
``tables``, ``breakdown``, ``reference``, ``figures``, ``chains``, ``training``, ``provenance``
what is shown;
``cells``, ``page``, ``terminal``, ``export``, ``latex`` how.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ekipl_lab.errors import ConfigError
from ekipl_lab.files import write_text
from ekipl_lab.report.export import as_csv, as_markdown
from ekipl_lab.report.gather import RunData, gather_runs
from ekipl_lab.report.latex import as_latex
from ekipl_lab.report.page import all_tables, build_report, page_title
from ekipl_lab.report.provenance import seeds_note, warnings
from ekipl_lab.report.terminal import print_summary


def report_command(names: Sequence[str], out: str | Path) -> int:
    """Print the summary; write page, Markdown, LaTeX and CSV; say where: ``ekipl report``.

    ``names`` are run ids and folders of ``ekipl eval``; ``out`` is the page, the rest lie beside.
    Raises ConfigError where ``out`` does not end in .html.
    """
    if Path(out).suffix != ".html":
        raise ConfigError(
            f"The report {str(out)!r} must be named *.html; its tables as .md, .tex and .csv lie "
            "beside it."
        )
    runs = gather_runs(names)
    print_summary(runs)
    path = write_report(runs, out)
    beside = ", ".join(other.name for other in write_beside(runs, path))
    size = path.stat().st_size / 1e6
    print(f"Report: {path} ({size:.1f} MB, complete in itself); beside it {beside}")
    return 0


def write_report(runs: Sequence[RunData], out: str | Path) -> Path:
    """Write the page of these runs, whole or not at all."""
    return write_text(Path(out), build_report(runs))


def write_beside(runs: Sequence[RunData], out: str | Path) -> list[Path]:
    """Write all tables as Markdown and LaTeX, and all numbers as CSV, beside the page ``out``."""
    title, found = page_title(runs), all_tables(runs)
    notes = [seeds_note(runs), *warnings(runs)]
    texts = {
        ".md": as_markdown(title, notes, found),
        ".tex": as_latex(title, notes, found),
        ".csv": as_csv(runs),
    }
    return [write_text(Path(out).with_suffix(suffix), text) for suffix, text in texts.items()]


__all__ = [
    "RunData",
    "build_report",
    "gather_runs",
    "print_summary",
    "report_command",
    "write_beside",
    "write_report",
]
