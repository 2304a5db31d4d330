"""`ekipl train`: one run, from its config to its last checkpoint."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ekipl_lab.commands.options import add_config_options
from ekipl_lab.errors import ConfigError

if TYPE_CHECKING:
    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.training.run import TrainResult


def add_options(parser: argparse.ArgumentParser) -> None:
    """The config and how to begin."""
    add_config_options(parser)
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="stages of that name instead of the config alone, such as paper or sft_then_paper "
        "(docs/studies.md has all)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument(
        "--probe", action="store_true", help="run one step of the worst case, measure it and stop"
    )
    parser.add_argument("--fresh", action="store_true", help="do not continue; start anew")
    parser.add_argument("--events", action="store_true", help="print progress as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Train, or continue; GRPO is the same trainer without teachers."""
    from ekipl_lab.training.config.run_config import load_config

    if args.recipe is not None:
        return _run_recipe(args)
    config = load_config(args.config, args.overrides)
    if args.dry_run:
        print_plan(config)
        return 0
    if args.probe:
        from ekipl_lab.training.probe import probe

        print(probe(config).line())
        return 0
    from ekipl_lab.commands.console import CellProgress
    from ekipl_lab.training.run import train

    if args.events:
        stop_with_parent()
        train(config, on_event=_print_event, fresh=args.fresh)
        return 0
    name = config.name
    with CellProgress([name]) as progress:
        result = train(config, on_event=lambda event: progress(name, event), fresh=args.fresh)
    print(finished_line(config, result))
    return 0


def _run_recipe(args: argparse.Namespace) -> int:
    """The stages one after the other, each a run."""
    from ekipl_lab.commands.console import CellProgress
    from ekipl_lab.studies.recipe import plan_recipe, run_recipe
    from ekipl_lab.training.run import TrainResult

    if args.probe or args.events:
        raise ConfigError("--recipe takes neither --probe nor --events; give the stage's config.")
    steps = plan_recipe(args.recipe, args.config, args.overrides)
    if args.dry_run:
        for step in steps:
            kind = "the trainer" if step.sft is None else "supervised steps"
            print(f"Stage {step.config.name}: {kind}")
            print_plan(step.config)
        return 0
    with CellProgress([step.config.name for step in steps]) as progress:
        ended = run_recipe(steps, progress, fresh=args.fresh)
    for step, result in zip(steps, ended, strict=True):
        print(f"{step.config.name}: policy in {result.policy}")
    last = ended[-1]
    if isinstance(last, TrainResult):
        print(finished_line(steps[-1].config, last))
    return 0


def print_plan(config: RunConfig) -> None:
    """The plan of a run: settings, data, prompts as they are, memory, costs."""
    from ekipl_lab.training.dry_run import plan_texts

    for text in plan_texts(config):
        print(text)


def finished_line(config: RunConfig, result: TrainResult) -> str:
    """What is said at the end; a report needs something that was evaluated."""
    from ekipl_lab.training.config.plan import evaluation_steps

    if config.evaluation.sets and evaluation_steps(config, result.step):
        return f"Run {result.run_id} finished; `ekipl report {result.run_id}` writes its page."
    return (
        f"Run {result.run_id} finished; nothing was evaluated, so it has no report page (set "
        "evaluation.sets, at_start and at_end)."
    )


def stop_with_parent() -> None:
    """Interrupt this process when its standard input closes: the parent is gone."""

    def watch() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def _print_event(event: Mapping[str, Any]) -> None:
    """One event as one JSON line, for the process that started this cell."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
