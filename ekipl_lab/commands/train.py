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
from ekipl_lab.errors import DataError

if TYPE_CHECKING:
    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.training.run import TrainResult


def add_options(parser: argparse.ArgumentParser) -> None:
    """The config and how to begin."""
    add_config_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument(
        "--probe", action="store_true", help="run one step of the worst case, measure it and stop"
    )
    parser.add_argument("--fresh", action="store_true", help="do not continue; start anew")
    parser.add_argument("--events", action="store_true", help="print progress as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Train, or continue; GRPO is the same trainer without teachers."""
    from ekipl_lab.training.config.run_config import load_config

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


def print_plan(config: RunConfig) -> None:
    """The plan of a run: settings, data, prompts as they are, memory, costs."""
    from ekipl_lab.training.config.plan import describe_plan, plan_run
    from ekipl_lab.training.config.sizes import batch_sizes, planned_processes
    from ekipl_lab.training.memory.costs import cost_lines
    from ekipl_lab.training.memory.estimate import describe_memory, processor_at_hand, run_shape
    from ekipl_lab.training.memory.prompts import prompt_sizes
    from ekipl_lab.training.setup import check_setup

    print(describe_plan(config))
    try:
        found = check_setup(config)
    except DataError:
        describe_memory(config)  # what is too large is said first
        raise
    print(found.text)
    if not found.samples:
        print(describe_memory(config))
        return
    sizes = prompt_sizes(found.samples, run_shape(config), processor_at_hand(config))
    print(sizes.line())
    print(describe_memory(config, sizes))
    plan = plan_run(config, len(found.samples), batch_sizes(config, planned_processes(config)))
    print("\n".join(cost_lines(config, plan, sizes, found.teachers, found.samples)))


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
