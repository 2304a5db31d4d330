"""What `ekipl data list`, `ekipl merge` and `ekipl teach preview` do; `cli` only parses."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ekipl_lab.errors import ConfigError
from ekipl_lab.types import GenerationParams

if TYPE_CHECKING:
    from ekipl_lab.training.config import RunConfig


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


def preview_teachers(args: Namespace) -> int:
    """Ask a config's teachers about the first samples of its data; print accuracy and chains."""
    from ekipl_lab.training.config import load_config

    return _preview(load_config(args.config, args.overrides), args.limit, args.show)


def _preview(config: RunConfig, limit: int, show: int) -> int:
    from ekipl_lab.benchmarks import load_samples
    from ekipl_lab.benchmarks.chains import CHAIN_STYLES, write_chain
    from ekipl_lab.rewards import get_scorer
    from ekipl_lab.sources.teachers.build import build_teachers

    if not config.teachers:
        raise ConfigError(f"Run {config.name!r} has no teachers; add some under `teachers:`.")
    data = config.data
    samples = load_samples(
        data.benchmark,
        task=data.task,
        split=data.split,
        limit=limit,
        families=data.families,
        seed=data.seed,
    )
    score = get_scorer(config.reward.scorer, config.reward.weights)
    console = Console()
    params = GenerationParams(max_new_tokens=512, seed=0)
    answers: dict[str, list[float]] = {}
    sources = build_teachers(config.teachers, write_chain, styles=CHAIN_STYLES)
    for source in sources:
        for number, (sample, (action,)) in enumerate(
            zip(samples, source.propose(samples, 1, params), strict=True)
        ):
            reward = score(sample, action)
            answers.setdefault(source.id, []).append(float(reward.success is True))
            if number < show:
                console.print(f"[bold]{escape(sample.question)}[/] ({escape(sample.answer)})")
                console.print(f"  {source.id}: {escape(action.completion)} -> {reward.total}")
    for name, right in answers.items():
        console.print(f"{name}: right on {sum(right):.0f} of {len(right)} samples")
    return 0


def require_clone(root: Path) -> None:
    """ConfigError unless app/ lies in ``root``: the page is started from a clone."""
    if not (root / "app" / "main.py").is_file():
        raise ConfigError("The app is started from a clone of the project; app/ is not here.")
