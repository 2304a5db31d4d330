"""`ekipl report`: runs and evaluations on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from ekipl_lab.commands.options import named_path


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to report, and where to."""
    parser.add_argument(
        "runs",
        nargs="*",
        help="run ids and folders of `ekipl eval`; none: what was last run together",
    )
    parser.add_argument("--out", type=named_path, default=Path("mlruns/report.html"))


def run(args: argparse.Namespace) -> int:
    """Print the summary and write the page."""
    from ekipl_lab.report import report_command

    return report_command(args.runs, args.out)
