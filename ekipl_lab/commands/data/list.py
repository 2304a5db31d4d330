"""`ekipl data list`: what can be trained and evaluated on."""

from __future__ import annotations

import argparse

from rich.markup import escape
from rich.table import Table

from ekipl_lab.benchmarks import BENCHMARKS
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.tables import piped


def run(args: argparse.Namespace) -> int:
    """Print the benchmarks, then the question families of the built-in one."""
    console = piped()
    for benchmark in BENCHMARKS.values():
        splits = ", ".join(f"{name} {size:,}" for name, size in benchmark.sizes.items())
        console.print(f"[bold]{benchmark.name}[/]  {benchmark.source}; {benchmark.licence}")
        console.print(f"  splits: {splits}\n  tasks: {', '.join(benchmark.tasks)}")
    for task in MINI_TASKS.values():
        table = Table(title=f"mini/{task.name}", box=None, title_justify="left")
        for heading in ("family", "status", "example"):
            table.add_column(heading)
        for family in task.families.values():
            table.add_row(family.name, family.status, escape(family.example))
        console.print(table)
    return 0
