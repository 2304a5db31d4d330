"""`ekipl runs list`: the runs of this project's store."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from datetime import datetime

from ekipl_lab.commands.options import count
from ekipl_lab.tables import DASH, Table, TableCell, as_rich, piped, row
from ekipl_lab.tracking import RunInfo, list_runs

#: Last values that are shown, each for every evaluation set: its heading, its metric.
SHOWN = (("greedy", "accuracy_greedy"), ("pass@1", "pass_at_1"))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which runs."""
    parser.add_argument("--experiment", help="of this experiment only")
    parser.add_argument("--status", choices=["RUNNING", "FINISHED", "FAILED", "KILLED"])
    parser.add_argument("--limit", type=count, default=30, help="at most so many")


def run(args: argparse.Namespace) -> int:
    """Print them as a table."""
    found = list_runs(args.experiment, status=args.status, limit=args.limit)
    if not found:
        print("No run is in this store; `ekipl train` or `make demo` makes one.")
        return 0
    measured = {name for info in found for name in info.metrics}
    sets = sorted({name.split("/")[1] for name in measured if name.startswith("eval/")})
    metrics = {
        f"{heading}, {label}": name
        for label in sets
        for heading, metric in SHOWN
        if (name := f"eval/{label}/{metric}") in measured
    }
    columns = ["run", "id", "experiment", "status", "started", *metrics]
    table = Table("", columns, [_row(info, metrics.values()) for info in found])
    for shown in as_rich(table):
        piped().print(shown)
    return 0


def _row(info: RunInfo, metrics: Iterable[str]) -> list[TableCell]:
    values = (info.metrics.get(name) for name in metrics)
    cells = [TableCell(DASH if value is None else f"{100 * value:.1f} %") for value in values]
    started = f"{datetime.fromtimestamp(info.start):%Y-%m-%d %H:%M}"
    return row(info.name, info.run_id[:8], info.experiment, info.status.lower(), started, *cells)
