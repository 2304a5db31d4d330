"""What `ekipl eval`, `ekipl data list` and `ekipl teach preview` do; `cli` only parses."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ekipl_lab.errors import ConfigError
from ekipl_lab.types import ActionSource, EvalRecord, GenerationParams, Sample

if TYPE_CHECKING:
    from ekipl_lab.evaluation import MetricRow
    from ekipl_lab.training.config import RunConfig

#: Metrics that `ekipl eval` prints; the rest are in the records.
SHOWN = ("accuracy_greedy", "pass_at_", "majority_vote", "format_failure_", "truncated_")


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


def evaluate_command(args: Namespace) -> int:
    """Evaluate a checkpoint on a split: greedy accuracy and pass@k with 95 % intervals."""
    from ekipl_lab.benchmarks import load_samples
    from ekipl_lab.evaluation import summarize, write_records
    from ekipl_lab.policies import PolicySource, load_policy

    samples = load_samples(
        args.benchmark,
        task=args.task,
        split=args.split,
        limit=args.limit,
        families=args.families,
        seed=args.seed,
    )
    if not samples:
        raise ConfigError("There is nothing to evaluate on; --limit must be at least 1.")
    policy = load_policy(args.policy)
    records = _measure(PolicySource(policy), samples, args)
    _print_metrics(summarize(records, by=("family",)) + summarize(records, by=("split",)))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        write_records(args.out / "records.parquet", records)
        print(f"{len(records)} records: {args.out / 'records.parquet'}")
    return 0


def merge_command(args: Namespace) -> int:
    """Write base and adapter as one checkpoint folder."""
    from ekipl_lab.policies import merge_adapter

    folder = merge_adapter(args.adapter, args.out, base=args.base, dtype=args.dtype)
    print(f"Merged policy saved in {folder}")
    return 0


def _measure(source: ActionSource, samples: Sequence[Sample], args: Namespace) -> list[EvalRecord]:
    from ekipl_lab.evaluation import evaluate
    from ekipl_lab.rewards import get_scorer

    scorer = get_scorer("ekipl/auto")
    records: list[EvalRecord] = []
    with Progress(console=Console(stderr=True)) as progress:
        for mode, count in (("greedy", 1), ("sampled", args.num_samples)):
            if count < 1:
                continue
            bar = progress.add_task(mode, total=len(samples))
            records += evaluate(
                source,
                samples,
                scorer,
                mode="greedy" if mode == "greedy" else "sampled",
                num_samples=count,
                max_new_tokens=args.max_new_tokens,
                seed=args.seed,
                progress=lambda done, total, bar=bar: progress.update(bar, completed=done),  # type: ignore[misc]
            )
    return records


def _print_metrics(rows: Sequence[MetricRow]) -> None:
    table = Table(box=None)
    for heading in ("slice", "metric", "value", "95 % interval", "n", "method"):
        table.add_column(heading)
    for row in rows:
        if row.metric.startswith(SHOWN):
            where = " ".join(str(value) for value in row.group.values())
            span = f"{row.low:.3f} to {row.high:.3f}"
            table.add_row(where, row.metric, f"{row.value:.3f}", span, str(row.n), row.method)
    Console().print(table)


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
