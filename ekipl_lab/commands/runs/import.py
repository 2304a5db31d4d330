"""`ekipl runs import FILE`: a run from another store."""

from __future__ import annotations

import argparse

from ekipl_lab.commands.options import named_path
from ekipl_lab.tracking.transfer import import_run


def add_options(parser: argparse.ArgumentParser) -> None:
    """The file, and the experiment to put it in."""
    parser.add_argument("file", type=named_path, help="what `ekipl runs export` wrote")
    parser.add_argument("--experiment", help="default: the one that it was in")


def run(args: argparse.Namespace) -> int:
    """Take it in and say its new id."""
    run_id = import_run(args.file, args.experiment)
    print(f"Imported as run {run_id}; `ekipl runs show {run_id[:8]}` shows it.")
    return 0
