"""`ekipl runs export RUN`: a run as one file."""

from __future__ import annotations

import argparse

from ekipl_lab.commands.options import named_path
from ekipl_lab.tracking.transfer import export_run


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which run, and where to."""
    parser.add_argument("run_id", metavar="RUN", help="its id, how that begins, or its name")
    parser.add_argument("--out", type=named_path, help="the file (default: <name>-<id>.zip)")
    parser.add_argument("--no-checkpoints", action="store_true", help="leave the weights out")


def run(args: argparse.Namespace) -> int:
    """Write it and say what it holds."""
    path, left_out = export_run(args.run_id, args.out, checkpoints=not args.no_checkpoints)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB); `ekipl runs import {path}` takes it in.")
    for text in left_out:
        print(f"Left out: {text}")
    return 0
