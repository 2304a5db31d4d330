"""`ekipl train`: one run, from its config to its last checkpoint."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ekipl_lab.commands.options import add_config_options
from ekipl_lab.errors import ConfigError

if TYPE_CHECKING:
    from ekipl_lab.studies.recipe import Step
    from ekipl_lab.training.config.action_sft import ActionSFT
    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.training.run import TrainResult
    from ekipl_lab.training.sft.stage import Supervised

Show = Callable[[str, Mapping[str, Any]], None]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The config and how to begin."""
    add_config_options(parser)
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="stages of that name, such as paper or sft_then_paper (docs/studies.md has all, and "
        "what is run without this option)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument(
        "--probe", action="store_true", help="run one step of the worst case, measure it and stop"
    )
    parser.add_argument("--fresh", action="store_true", help="do not continue; start anew")
    parser.add_argument("--events", action="store_true", help="print progress as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Train, or continue; GRPO is the same trainer without teachers."""
    from ekipl_lab.studies.recipe import plan_recipe
    from ekipl_lab.training.config.run_config import load_config

    config = load_config(args.config, args.overrides)
    if steps := plan_recipe(args.recipe, args.config, args.overrides):
        return _run_recipe(args, steps)
    from ekipl_lab.training.run import check_alone, train

    check_alone(config)
    if args.dry_run:
        print_plan(config)
        return 0
    if args.probe:
        from ekipl_lab.training.probe import probe

        print(probe(config).line())
        return 0
    with _shown(args, [config.name]) as show:
        result = train(config, on_event=partial(show, config.name), fresh=args.fresh)
    if not args.events:
        print(finished_line(config, result))
        _remark(config, result.run_id)
    return 0


def _run_recipe(args: argparse.Namespace, steps: Sequence[Step]) -> int:
    """The stages one after the other, each a run."""
    from ekipl_lab.studies.recipe import run_recipe

    if args.probe:
        raise ConfigError(
            "--probe is of the trainer alone, and this config is trained by a recipe; say under "
            "`ekipl:` how the teachers' actions are used, such as ekipl.selection=top_g."
        )
    say = (lambda text: None) if args.events else print
    if args.recipe is None:
        say(_why(steps))
    if args.dry_run:
        for step in steps:
            print(f"Stage {step.config.name}: {stage_line(step)}")
            print_plan(step.config, step.sft)
        return 0
    with _shown(args, [step.config.name for step in steps]) as show:
        ended = run_recipe(steps, show, fresh=args.fresh)
    for step, result in zip(steps, ended, strict=True):
        say(f"{step.config.name}: policy in {result.policy}")
    say(finished_line(steps[-1].config, ended[-1]))
    for step, result in zip(steps, ended, strict=True):
        if step.sft is None and not args.events:
            _remark(step.config, result.run_id)
    return 0


def _why(steps: Sequence[Step]) -> str:
    """Why there are stages, where no flag asked for them."""
    stages = ", then ".join(map(stage_line, steps))
    other = (
        "; --recipe paper puts the teachers' actions into the GRPO group instead, and settings "
        "under `ekipl:` do so too"
    )
    return f"This trains by {stages} (docs/studies.md{other if steps[0].config.teachers else ''})."


def stage_line(step: Step) -> str:
    """What a stage is, in a few words."""
    own = step.sft
    if own is None:
        return "a run of the trainer"
    times = "once" if own.epochs == 1 else f"{own.epochs:g} times"
    learned = {"actions": "the teachers' actions", "chains": "the chains of the data",
               "answers": "the answers of the data"}[own.learn]  # fmt: skip
    kept = f", {own.average:g} of it averaged with the start" if own.average < 1 else ""
    return f"supervised steps on {learned}, gone through {times}{kept}"


@contextmanager
def _shown(args: argparse.Namespace, names: list[str]) -> Iterator[Show]:
    """What takes (run, event): JSON lines for the process that started this cell, or a table."""
    if args.events:
        stop_with_parent()
        yield lambda name, event: _print_event(event)
        return
    from ekipl_lab.commands.console import CellProgress

    with CellProgress(names) as progress:
        yield progress


def print_plan(config: RunConfig, sft: ActionSFT | None = None) -> None:
    """The plan of a run: settings, data, prompts as they are, memory, costs."""
    from ekipl_lab.training.dry_run import plan_texts, supervised_texts

    for text in plan_texts(config) if sft is None else supervised_texts(config, sft):
        print(text)


def finished_line(config: RunConfig, result: TrainResult | Supervised) -> str:
    """What is said at the end; a report needs something that was evaluated."""
    from ekipl_lab.training.config.plan import evaluation_steps
    from ekipl_lab.training.run import TrainResult

    run_id = result.run_id
    if isinstance(result, TrainResult):
        measured = bool(config.evaluation.sets and evaluation_steps(config, result.step))
    else:
        measured = result.is_measured
    if measured:
        return f"Run {run_id} finished; `ekipl report {run_id}` writes its page."
    return (
        f"Run {run_id} finished; nothing was evaluated, so it has no report page (set "
        "evaluation.sets, at_start and at_end)."
    )


def _remark(config: RunConfig, run_id: str) -> None:
    """What to know of a run that has ended, where there is something."""
    from ekipl_lab.report.caveats import cut_off
    from ekipl_lab.tracking import metric_history

    shares = [share for _, share in metric_history(run_id).get("policy/truncated", ())]
    if words := cut_off(shares, config.grpo_settings["max_completion_length"]):
        print(f"Mind: {words}")


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
