"""`ekipl runs list`: the runs of this project's store."""

from __future__ import annotations

import argparse
from datetime import datetime

from ekipl_lab.tables import DASH, Table, TableCell, as_rich, piped, row
from ekipl_lab.tracking import RunInfo, list_runs

#: Columns of last values: heading -> metric.
METRICS = {
    "greedy, test": "eval/test/accuracy_greedy",
    "pass@1, test": "eval/test/pass_at_1",
    "greedy, test_ood": "eval/test_ood/accuracy_greedy",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which runs."""
    parser.add_argument("--experiment", help="of this experiment only")
    parser.add_argument("--status", choices=["RUNNING", "FINISHED", "FAILED", "KILLED"])
    parser.add_argument("--limit", type=int, default=30, help="at most so many")


def run(args: argparse.Namespace) -> int:
    """Print them as a table."""
    found = list_runs(args.experiment, status=args.status, limit=args.limit)
    if not found:
        print("No run is in this store; `ekipl train` or `make demo` makes one.")
        return 0
    columns = ["run", "id", "experiment", "status", "started", *METRICS]
    table = Table("", columns, [_row(info) for info in found])
    for shown in as_rich(table):
        piped().print(shown)
    return 0


def _row(info: RunInfo) -> list[TableCell]:
    values = (info.metrics.get(name) for name in METRICS.values())
    cells = [TableCell(DASH if value is None else f"{100 * value:.1f} %") for value in values]
    started = f"{datetime.fromtimestamp(info.start):%Y-%m-%d %H:%M}"
    return row(info.name, info.run_id[:8], info.experiment, info.status.lower(), started, *cells)
