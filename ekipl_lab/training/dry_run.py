"""The plan of a run (`ekipl train --dry-run`): settings, data, prompts, memory, costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import yaml

from ekipl_lab.errors import DataError
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.plan import describe_plan, plan_run, samples_at
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import batch_sizes, planned_processes
from ekipl_lab.training.memory.costs import cost_lines, teacher_lines
from ekipl_lab.training.memory.estimate import describe_memory, processor_at_hand, run_shape
from ekipl_lab.training.memory.prompts import prompt_sizes
from ekipl_lab.training.setup import Looked, check_setup


def plan_texts(config: RunConfig) -> Iterator[str]:
    """The parts of the plan as they become known; ConfigError where the run cannot be made."""
    yield describe_plan(config)
    try:
        found = check_setup(config)
    except DataError:
        describe_memory(config)  # what is too large is said first
        raise
    yield found.text
    if not found.samples:
        yield describe_memory(config)
        return
    sizes = prompt_sizes(found.samples, run_shape(config), processor_at_hand(config))
    yield sizes.line()
    yield describe_memory(config, sizes)
    plan = plan_run(config, len(found.samples), batch_sizes(config, planned_processes(config)))
    yield "\n".join(cost_lines(config, plan, sizes, found.teachers, found.samples))


def supervised_texts(config: RunConfig, settings: ActionSFT) -> Iterator[str]:
    """The same of supervised steps."""
    resolved = config.model_dump(mode="json") | {"sft": settings.model_dump(mode="json")}
    yield yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)
    found = check_setup(config)
    yield found.text
    plan = plan_run(
        config, len(found.samples) or None, batch_sizes(config, planned_processes(config))
    )
    if found.samples:
        _check_lesson(config, settings, found)
    taught, data = settings.learn == "actions", len(found.samples) or config.data.limit
    most = sum(plan.teacher_actions.values()) if taught else data
    asked = settings.actions or most if taught else min(settings.actions or data, data)
    rollouts = min(asked, data) * settings.rollouts if settings.weighting == "solve_rate" else 0
    learned = asked + rollouts  # right ones of its own are learned too
    steps = math.ceil(learned * settings.epochs / settings.batch_size)
    own = config.evaluation
    looks = [
        1 + own.num_samples * samples_at(config, step, steps)
        for step, due in ((0, own.at_start), (steps, own.at_end))
        if due
    ]
    items = sum(chosen.limit for chosen in own.sets)
    lines = [
        f"learned                 at most {learned:,} completions, {asked:,} of them "
        f"{settings.learn}, gone through {settings.epochs:g} times in steps of "
        f"{settings.batch_size}",
        f"steps                   at most {steps:,}",
        f"policy completions      at most {rollouts:,}",
        f"evaluation completions  {items * sum(looks):,}",
    ]
    if taught and found.samples:
        each = plan.sizes.prompts * sum(teacher.actions for teacher in config.teachers)
        bought = replace(plan, generations=math.ceil(asked / max(each, 1)))
        length = int(config.grpo_settings["max_completion_length"])
        for teacher in found.teachers:
            lines += teacher_lines(config, bought, teacher, found.samples, length)
    yield "\n".join(lines)


def _check_lesson(config: RunConfig, settings: ActionSFT, found: Looked) -> None:
    """What the run checks of the loop and the prompts before it teaches."""
    from ekipl_lab.training.run_policy import policy_without_weights
    from ekipl_lab.training.sft.actions import count_held_out
    from ekipl_lab.training.sft.prepare import check_lesson, load_data

    count_held_out(settings.validation, len(found.samples))
    policy = policy_without_weights(config)
    if policy is not None:
        check_lesson(config, settings, load_data(config, measure=True), policy)
