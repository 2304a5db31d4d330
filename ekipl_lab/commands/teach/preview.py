"""`ekipl teach preview`: what a config's teachers say about its first prompts, and what it earns.

They are asked with the parameters of the run, so that what is bought here is not bought again.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rich.console import Console

from ekipl_lab.commands.options import add_config_options, add_payment_option, count
from ekipl_lab.commands.teach.precompute import check_costs, run_params
from ekipl_lab.errors import ConfigError, printable
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.run_teachers import build_run_teachers
from ekipl_lab.types import Action, RewardBreakdown, Sample


def add_options(parser: ArgumentParser) -> None:
    """The config, how much is asked, and whether it may cost."""
    add_config_options(parser)
    parser.add_argument("--limit", type=count, default=16, help="samples to ask about")
    parser.add_argument("--show", type=int, default=2, help="samples to print in full")
    add_payment_option(parser)


def run(args: Namespace) -> int:
    """Ask, score and print; texts are shown as they are, but for control characters."""
    from ekipl_lab.rewards import get_scorer

    config = load_config(args.config, args.overrides)
    if not config.teachers:
        raise ConfigError(f"Run {config.name!r} has no teachers; add some under `teachers:`.")
    everything = load_training_samples(config)
    samples, params = everything[: args.limit], run_params(config)
    score = get_scorer(config.reward.scorer, config.reward.weights)
    console, counts = Console(highlight=False, markup=False, soft_wrap=True), []
    teachers = build_run_teachers(config, everything)
    check_costs(teachers, samples, params, yes=args.yes, say=console.print)
    for teacher in teachers:
        rows = teacher.source.propose(samples, teacher.actions, params)
        rewards = [
            [score(sample, action) for action in row]
            for sample, row in zip(samples, rows, strict=True)
        ]
        for shown in list(zip(samples, rows, rewards, strict=True))[: args.show]:
            console.print(_shown(*shown))
        right = [reward.success is True for row in rewards for reward in row]
        asked = len(samples) * teacher.actions
        missing = f", {asked - len(right)} missing" if len(right) < asked else ""
        counts.append(f"{teacher.source.id}: {sum(right)} of {len(right)} actions right{missing}")
    for line in counts:
        console.print(line)
    return 0


def _shown(sample: Sample, row: list[Action], rewards: list[RewardBreakdown]) -> str:
    """A sample and what one teacher says of it."""
    lines = [f"{sample.question} ({sample.answer})"]
    lines += [
        f"  {action.source}: {action.completion} -> {reward.total}"
        for action, reward in zip(row, rewards, strict=True)
    ]
    return printable("\n".join(lines))
