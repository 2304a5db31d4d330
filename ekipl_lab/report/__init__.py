"""Reports: a table on the terminal and one self-contained HTML page about one or several runs.

    runs = gather_runs([run_id, other_id])        # the run without teachers comes first
    print_summary(runs)
    Path("report.html").write_text(build_report(runs))

``gather`` what is read; ``tables``, ``figures``, ``chains``, ``origin`` what is shown; ``page`` and
``terminal`` how.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ekipl_lab.report.gather import RunData, gather_runs
from ekipl_lab.report.page import build_report
from ekipl_lab.report.terminal import print_summary


def report_command(run_ids: Sequence[str], out: str | Path) -> int:
    """Print the summary, write the page, say where it is: ``ekipl report``."""
    runs = gather_runs(run_ids)
    print_summary(runs)
    path = write_report(runs, out)
    print(f"Report: {path} ({path.stat().st_size / 1e6:.1f} MB, complete in itself)")
    return 0


def write_report(runs: Sequence[RunData], out: str | Path) -> Path:
    """Write the page of these runs, whole or not at all."""
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    part.write_text(build_report(runs), encoding="utf-8")
    part.replace(path)
    return path


__all__ = [
    "RunData",
    "build_report",
    "gather_runs",
    "print_summary",
    "report_command",
    "write_report",
]
