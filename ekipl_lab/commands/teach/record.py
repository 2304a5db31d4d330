"""`ekipl teach record`: write down what a run's teachers say, and the run that repeats it.

    ekipl teach record --config configs/demo_ekipl.yaml --out recordings/demo
    ekipl train --config recordings/demo/demo_ekipl_replayed.yaml    # no network; the same bits

One JSON Lines file per teacher (docs/teachers.md), and a config in which every teacher repeats its
file. What is recorded is the text of the actions, not their log-probabilities.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress

from ekipl_lab.commands.options import add_config_options, add_payment_option, named_path
from ekipl_lab.commands.teach.precompute import BATCH, check_costs, run_params
from ekipl_lab.errors import ConfigError, TeacherError
from ekipl_lab.files import write_text
from ekipl_lab.groups.options import Teacher
from ekipl_lab.secrets import refuse_secrets
from ekipl_lab.teachers.adapters.replay import prompt_digest
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import RunConfig, load_config
from ekipl_lab.training.prefetch import PromptSchedule
from ekipl_lab.training.recorded import asked_about
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.run_teachers import build_run_teachers
from ekipl_lab.types import GenerationParams, Sample

#: What is asked in one pass over the data: its number, and the samples.
Pass = tuple[int, Sequence[Sample]]


def add_options(parser: ArgumentParser) -> None:
    """The config, how much is asked, and whether it may cost."""
    add_config_options(parser)
    parser.add_argument("--out", type=named_path, required=True, help="folder of the recording")
    add_payment_option(parser)


def run(args: Namespace) -> int:
    """Record a config's teachers on the prompts of its run."""
    config = load_config(args.config, args.overrides)
    if not config.teachers:
        raise ConfigError(f"Run {config.name!r} has no teachers to record.")
    samples = load_training_samples(config)
    passes = asked_in(config, samples)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    teachers = build_run_teachers(config, samples)
    check_costs(teachers, passes[0][1], run_params(config), yes=args.yes, say=console.print)
    with Progress(console=console, transient=True) as progress:
        for teacher in teachers:
            bar = progress.add_task(teacher.source.id, total=sum(len(s) for _, s in passes))
            lines = []
            for row in recorded(teacher, passes, run_params(config).max_new_tokens):
                lines.append(json.dumps(row, ensure_ascii=False) + "\n")
                progress.update(bar, completed=len(lines) // teacher.actions)
            path = args.out / f"{teacher.source.id}.jsonl"
            refuse_secrets(str(path), "".join(lines))
            write_text(path, "".join(lines))
            console.print(f"{path}: {len(lines)} actions")
    replay = replaying(config, args.out)
    path = args.out / f"{replay['name']}.yaml"
    text = yaml.safe_dump(replay, sort_keys=False, allow_unicode=True)
    refuse_secrets(str(path), text)
    write_text(path, text)
    console.print(f"Replay it: ekipl train --config {path}")
    return 0


def asked_in(config: RunConfig, samples: Sequence[Sample]) -> list[Pass]:
    """What the run asks about, by pass; all samples if there are several passes.

    A replaying teacher counts the passes, so that every sample must be recorded in each.
    """
    run = check_run(config, "unused")
    steps = plan_run(config, len(samples), run.sizes).steps
    *_, (last, _) = PromptSchedule(run.args, len(samples), steps).following((0, 0))
    asked = asked_about(run.args, samples, steps)
    return [(number, asked) for number in range(last + 1)]


def recorded(teacher: Teacher, passes: Sequence[Pass], max_tokens: int) -> Iterator[dict[str, str]]:
    """One row per action, pass by pass; TeacherError where a teacher gives fewer than asked for."""
    for number, samples in passes:
        params = GenerationParams(max_new_tokens=max_tokens, seed=number)
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            given = teacher.source.propose(batch, teacher.actions, params)
            for sample, actions in zip(batch, given, strict=True):
                if len(actions) != teacher.actions:
                    raise TeacherError(
                        f"Teacher {teacher.source.id!r} gave {len(actions)} actions for sample "
                        f"{sample.id}, not {teacher.actions}; replay its cache instead, with "
                        "`gateway: {offline: true}`."
                    )
                for action in actions:
                    yield {
                        "sample_id": sample.id,
                        "completion": action.completion,
                        "model_id": action.model_id,
                        "finish_reason": action.finish_reason,
                        "prompt": prompt_digest(sample),
                    }


def replaying(config: RunConfig, folder: Path) -> dict[str, Any]:
    """The settings of the run ``<name>_replayed``: its teachers repeat the files of ``folder``."""
    raw = config.model_dump(mode="json", exclude_unset=True)
    teachers = [
        {"type": "replay", "id": spec.id, "actions": spec.actions}
        | {"path": str(folder / f"{spec.id}.jsonl")}
        for spec in config.teachers
    ]
    rest = {key: value for key, value in raw.items() if key != "prefetch"}
    return {**rest, "name": f"{config.name}_replayed", "teachers": teachers}
