"""What a checked config comes to, before anything is trained: steps, calls; comparability of arms.

print(describe_plan(load_config("configs/demo_ekipl.yaml")))        # ekipl train --dry-run
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ekipl_lab.benchmarks.image_files import MAX_PIXELS
from ekipl_lab.errors import ConfigError
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.run_config import RunConfig, load_config
from ekipl_lab.training.config.sizes import BatchSizes, batch_sizes, planned_processes
from ekipl_lab.training.config.waits import longest_wait

#: What arms of one comparison must share.
SHARED = ("seed", "policy", "data", "reward", "evaluation")
#: More steps are a slip of the pen, and a list of their evaluations would fill the memory.
MOST_STEPS = 10**7
SHARED_GRPO = ("num_generations", "max_completion_length", "temperature", "top_p", "top_k")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a run is and what it asks for.

    ``sizes`` of its generations; ``teacher_actions`` by teacher id; ``evaluations``: steps after
    which the policy is measured (0 for the start), and whether it also samples for pass@k there.
    """

    sizes: BatchSizes
    steps: int
    generations: int
    policy_completions: int
    teacher_actions: Mapping[str, int]
    evaluations: Mapping[int, bool]
    evaluation_completions: int


def plan_run(
    config: RunConfig, available: int | None = None, sizes: BatchSizes | None = None
) -> Plan:
    """The plan over ``available`` training samples (None: as many as data.limit).

    ``sizes`` default to those on the processes of the launcher. Raises ConfigError where samples
    and sizes do not fit together.
    """
    limit = config.data.limit if available is None else available
    sizes = sizes or batch_sizes(config)
    prompts, accumulate = sizes.prompts, sizes.accumulate
    if limit < prompts:
        raise ConfigError(
            f"There are {limit} training samples, and one generation needs {prompts} prompts; "
            "check data.limit and data.families, or make the batch smaller."
        )
    batches = (limit // prompts) * sizes.micro_batches  # of an epoch
    if batches % accumulate and accumulate > sizes.micro_batches:
        together = accumulate // sizes.micro_batches
        raise ConfigError(
            f"An epoch has {limit // prompts} generations, and an optimiser step takes {together}: "
            "the last step of an epoch would be smaller than the others. Make data.limit a "
            f"multiple of {together * prompts}, or grpo.gradient_accumulation_steps smaller."
        )
    per_epoch = -(-batches // accumulate)
    given = config.grpo_settings
    steps = int(given.get("max_steps", -1))
    if steps <= 0:  # as the Trainer counts
        steps = math.ceil(per_epoch * given.get("num_train_epochs", 3.0))
    if steps > MOST_STEPS:
        raise ConfigError(
            f"The run would have {steps:,} steps, and {MOST_STEPS:,} are the most; make "
            "grpo.max_steps or grpo.num_train_epochs smaller."
        )
    generations = -(-steps * accumulate // sizes.micro_batches)
    own = config.evaluation
    evaluations = {
        step: samples_at(config, step, steps) for step in evaluation_steps(config, steps)
    }
    per_item = sum(1 + own.num_samples * sampled for sampled in evaluations.values())
    return Plan(
        sizes=sizes,
        steps=steps,
        generations=generations,
        policy_completions=generations * sizes.completions,
        teacher_actions={t.id: generations * prompts * t.actions for t in config.teachers},
        evaluations=evaluations,
        evaluation_completions=per_item * sum(chosen.limit for chosen in own.sets),
    )


def evaluation_steps(config: RunConfig, steps: int) -> list[int]:
    """Steps after which the policy is measured, 0 for the start."""
    own = config.evaluation
    chosen = {0} if own.at_start else set()
    if own.every:
        chosen |= set(range(own.every, steps, own.every))
    return sorted(chosen | ({steps} if own.at_end else set()))


def samples_at(config: RunConfig, step: int, steps: int) -> bool:
    """Whether actions are sampled too where the policy is measured after ``step`` of ``steps``."""
    when = config.evaluation.sampled
    return when == "always" or (when == "ends" and step in (0, steps))


def describe_plan(config: RunConfig) -> str:
    """The resolved config and what it comes to, as text. Raises ConfigError as `check_run` does."""
    check_run(config, "unused")
    plan = plan_run(config, sizes=batch_sizes(config, planned_processes(config)))
    resolved = config.model_dump(mode="json") | {"grpo": config.grpo_settings}
    teachers = ", ".join(f"{name} {count}" for name, count in plan.teacher_actions.items())
    lines = [
        yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True),
        f"steps                   {plan.steps} ({plan.sizes.cycle} per generation)",
        f"group                   G = {plan.sizes.group}, "
        f"{plan.sizes.prompts} prompts per generation",
        f"image pixels            {_pixels(config)}",
        f"policy completions      {plan.policy_completions}",
        f"teacher actions         {teachers or 'none'}",
        f"evaluation completions  {plan.evaluation_completions}",
    ]
    if planned_processes(config) > 1:
        wait = config.grpo_settings.get("ddp_timeout", longest_wait(config, plan.sizes))
        lines.append(f"longest wait            {wait} s of one process for another (ddp_timeout)")
    return "\n".join(lines)


def _pixels(config: RunConfig) -> str:
    own, data = config.policy, config.data
    files = data.benchmark != "mini" and data.image_size is None
    most = own.max_pixels or (MAX_PIXELS if files else None)
    bounds = [
        f"at {word} {pixels:,}"
        for word, pixels in (("least", own.min_pixels), ("most", most))
        if pixels
    ]
    return ", ".join(bounds) or "as drawn (data.image_size)"


def check_comparable(arms: Sequence[tuple[str, Path, Sequence[str]]]) -> None:
    """ConfigError unless the arms (name, file, overrides) share all that must be equal.

    That is: warm start, seed, prompts, reward, evaluation, sampling, and the number of policy
    completions. Names must differ, since a run's folder is called by its name.
    """
    configs = [(name, load_config(path, overrides)) for name, path, overrides in arms]
    called: dict[str, str] = {}
    for name, config in configs:
        if (other := called.setdefault(config.name, name)) != name:
            raise ConfigError(
                f"{name} and {other} are both called {config.name!r} and would be one run; give "
                "each a `name:` of its own."
            )
    shared = [(name, _shared(config)) for name, config in configs]
    first_name, first = shared[0]
    for name, values in shared[1:]:
        for what, value in values.items():
            if value != first[what]:
                raise ConfigError(
                    f"{name} and {first_name} cannot be compared: {what} is {value} in one and "
                    f"{first[what]} in the other."
                )


def _shared(config: RunConfig) -> dict[str, Any]:
    """What arms of one comparison must share, by the name of the setting."""
    dumped = config.model_dump(mode="json")
    return {
        **{key: dumped[key] for key in SHARED},
        **{f"grpo.{key}": config.grpo_settings.get(key) for key in SHARED_GRPO},
        "the number of policy completions": plan_run(config).policy_completions,
    }
