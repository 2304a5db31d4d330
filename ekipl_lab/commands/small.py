"""What `ekipl data list` and `ekipl merge` do, and the end of `train`; `cli` only parses."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ekipl_lab.errors import ConfigError

if TYPE_CHECKING:
    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.training.run import TrainResult


def list_benchmarks() -> None:
    """Print the benchmarks with their tasks, families and splits."""
    from ekipl_lab.benchmarks import BENCHMARKS
    from ekipl_lab.benchmarks.mini import MINI_TASKS

    console = Console()
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


def merge_command(args: Namespace) -> int:
    """Write base and adapter as one checkpoint folder."""
    from ekipl_lab.policies import merge_adapter

    folder = merge_adapter(args.adapter, args.out, base=args.base, dtype=args.dtype)
    print(f"Merged policy saved in {folder}")
    return 0


def finished_line(config: RunConfig, result: TrainResult) -> str:
    """What `ekipl train` says at the end; a report needs something that was evaluated."""
    from ekipl_lab.training.config.plan import evaluation_steps

    if config.evaluation.sets and evaluation_steps(config, result.step):
        return f"Run {result.run_id} finished; `ekipl report {result.run_id}` writes its page."
    return (
        f"Run {result.run_id} finished; nothing was evaluated, so it has no report page (set "
        "evaluation.sets, at_start and at_end)."
    )


def require_clone(root: Path) -> None:
    """ConfigError unless app/ lies in ``root``: the page is started from a clone."""
    if not (root / "app" / "main.py").is_file():
        raise ConfigError("The app is started from a clone of the project; app/ is not here.")
