"""What a config comes to, before anything is trained: TRL's arguments, steps, calls; comparability.

print(describe_plan(load_config("configs/demo_ekipl.yaml")))        # ekipl train --dry-run
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.training.config.combinations import RATIO_LOSSES, check_combinations
from ekipl_lab.training.config.run_config import RunConfig, load_config

if TYPE_CHECKING:
    from trl import GRPOConfig

#: All that TRL 1.16 knows; it looks at them only once it trains.
CHOICES = {
    "loss_type": (*RATIO_LOSSES, "luspo", "cispo", "sapo", "vespo"),
    "importance_sampling_level": ("token", "sequence"),
}

#: What arms of one comparison must share.
SHARED = ("seed", "policy", "data", "reward", "evaluation")
SHARED_GRPO = ("num_generations", "max_completion_length", "temperature", "top_p", "top_k")


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of a run; ``teacher_actions`` by teacher id; ``cycle`` updates per generation."""

    steps: int
    cycle: int
    group_size: int
    prompts_per_generation: int
    generations: int
    policy_completions: int
    teacher_actions: Mapping[str, int]
    evaluation_completions: int


def world_size() -> int:
    """Processes of this run, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes(config: RunConfig) -> int:
    """Processes that a run is planned for: those of the launcher, or one for each GPU to come."""
    return max(world_size(), config.hardware.gpus)


def plan_run(config: RunConfig, available: int | None = None, processes: int | None = None) -> Plan:
    """The sizes of a run over ``available`` training samples (None: as many as data.limit).

    ``processes``: how many there will be (None: as many as the launcher says). Raises ConfigError
    for sizes that do not fit together.
    """
    limit = config.data.limit if available is None else available
    s = _sizes(config, processes or world_size())
    group, per_generation = s["num_generations"], s["generation_batch_size"]
    prompts = per_generation // group
    if limit < prompts:
        raise ConfigError(
            f"There are {limit} training samples, and one generation needs {prompts} prompts; "
            "check data.limit and data.families, or make the batch smaller."
        )
    updates = s["steps_per_generation"] * s["num_iterations"]
    accumulate = s["gradient_accumulation_steps"]
    if updates % accumulate and accumulate % updates:
        raise ConfigError(
            f"grpo.gradient_accumulation_steps {accumulate} and steps_per_generation * "
            f"num_iterations = {updates} must divide one the other, or no checkpoint could fall "
            "between two generations."
        )
    cycle = max(1, updates // accumulate)
    batches = (limit // prompts) * updates  # an epoch's, in micro-batches
    if batches % accumulate and accumulate > updates:
        raise ConfigError(
            f"An epoch has {limit // prompts} generations, and an optimiser step takes "
            f"{accumulate // updates}: the last step of an epoch would be smaller than the others. "
            f"Make data.limit a multiple of {accumulate // updates * prompts}, or "
            "grpo.gradient_accumulation_steps smaller."
        )
    per_epoch = -(-batches // accumulate)
    epochs = math.ceil(per_epoch * s["num_train_epochs"])  # as the Trainer counts
    steps = s["max_steps"] if s["max_steps"] > 0 else epochs
    _check_boundaries(config, cycle)
    generations = -(-steps * accumulate // updates)
    return Plan(
        steps=steps,
        cycle=cycle,
        group_size=group,
        prompts_per_generation=prompts,
        generations=generations,
        policy_completions=generations * per_generation,
        teacher_actions={t.id: generations * prompts * t.actions for t in config.teachers},
        evaluation_completions=_evaluation_completions(config, steps),
    )


def grpo_arguments(config: RunConfig, output_dir: str | Path) -> GRPOConfig:
    """TRL's arguments of a run. Raises ConfigError where they do not fit together."""
    import torch
    from trl import GRPOConfig

    plan_run(config)
    on_gpu = torch.cuda.is_available()
    settings = {"use_cpu": not on_gpu, "bf16": on_gpu, **config.grpo_settings}
    for key, known in CHOICES.items():
        if key in settings and settings[key] not in known:
            raise unknown_name(f"grpo.{key}", settings[key], known)
    check_combinations(config, settings)
    scale = config.ekipl.scale_rewards
    try:
        return GRPOConfig(
            **settings,
            output_dir=str(output_dir),
            seed=config.seed,
            scale_rewards=scale if scale in ("group", "none") else "group",
            report_to="none",
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"grpo: {str(error).splitlines()[0]}") from error


def describe_plan(config: RunConfig) -> str:
    """The resolved config and what it comes to, as text."""
    plan = plan_run(config, processes=processes(config))
    grpo_arguments(config, "unused")
    resolved = config.model_dump(mode="json") | {"grpo": config.grpo_settings}
    teachers = ", ".join(f"{name} {count}" for name, count in plan.teacher_actions.items())
    lines = [
        yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True),
        f"steps                   {plan.steps} ({plan.cycle} per generation)",
        f"group                   G = {plan.group_size}, "
        f"{plan.prompts_per_generation} prompts per generation",
        f"policy completions      {plan.policy_completions}",
        f"teacher actions         {teachers or 'none'}",
        f"evaluation completions  {plan.evaluation_completions}",
    ]
    return "\n".join(lines)


def check_comparable(arms: Sequence[tuple[str, Path, Sequence[str]]]) -> None:
    """ConfigError unless the arms (name, file, overrides) share all that must be equal.

    That is: warm start, seed, prompts, reward, evaluation, sampling, and the number of policy
    completions.
    """
    loaded = [(name, load_config(path, overrides)) for name, path, overrides in arms]
    for name, config in loaded[1:]:
        first_name, first = loaded[0]
        for what, mine, theirs in zip(
            _compared_names(), _compared(config), _compared(first), strict=True
        ):
            if mine != theirs:
                raise ConfigError(
                    f"{name} and {first_name} cannot be compared: {what} is {mine} in one and "
                    f"{theirs} in the other."
                )


def evaluation_steps(config: RunConfig, steps: int) -> list[int]:
    """Steps after which the policy is measured, 0 for the start."""
    own = config.evaluation
    chosen = {0} if own.at_start else set()
    if own.every:
        chosen |= set(range(own.every, steps, own.every))
    return sorted(chosen | ({steps} if own.at_end else set()))


def is_sampled(config: RunConfig, step: int, steps: int) -> bool:
    """Whether an evaluation also samples ``num_samples`` actions per item."""
    when = config.evaluation.sampled
    return when == "always" or (when == "ends" and step in (0, steps))


def _compared_names() -> tuple[str, ...]:
    return (*SHARED, *(f"grpo.{key}" for key in SHARED_GRPO), "the number of policy completions")


def _compared(config: RunConfig) -> list[Any]:
    shared = [config.model_dump(mode="json")[key] for key in SHARED]
    sampling = [config.grpo_settings.get(key) for key in SHARED_GRPO]
    return [*shared, *sampling, plan_run(config).policy_completions]


def _sizes(config: RunConfig, processes: int) -> dict[str, int]:
    """The batch arithmetic of GRPOConfig, with errors in terms of our keys."""
    given = config.grpo_settings
    s = {
        "num_generations": int(given["num_generations"]),
        "per_device": int(given["per_device_train_batch_size"]),
        "gradient_accumulation_steps": int(given["gradient_accumulation_steps"]),
        "num_iterations": int(given["num_iterations"]),
        "max_steps": int(given.get("max_steps", -1)),
        "num_train_epochs": given.get("num_train_epochs", 3.0),
    }
    if s["num_generations"] < 2:
        raise ConfigError(
            f"grpo.num_generations is {s['num_generations']}; a group needs at least 2 actions to "
            "compare."
        )
    per_update = s["per_device"] * processes
    steps = int(given.get("steps_per_generation") or s["gradient_accumulation_steps"])
    batch = int(given.get("generation_batch_size") or per_update * steps)
    if batch % per_update:
        raise ConfigError(
            f"grpo.generation_batch_size {batch} is not a multiple of the {per_update} rows that "
            "all processes hold at once (per_device_train_batch_size x processes)."
        )
    if batch % s["num_generations"]:
        raise ConfigError(
            f"One generation has {batch} completions (per_device_train_batch_size x processes x "
            f"steps_per_generation), which grpo.num_generations {s['num_generations']} does not "
            "divide; a group would be cut."
        )
    return s | {"generation_batch_size": batch, "steps_per_generation": batch // per_update}


def _check_boundaries(config: RunConfig, cycle: int) -> None:
    for key, value in {
        "tracking.checkpoint_every": config.tracking.checkpoint_every,
        "evaluation.every": config.evaluation.every,
    }.items():
        if value % cycle:
            raise ConfigError(
                f"{key} is {value}, and a generation lasts {cycle} steps; a run can be continued "
                f"only between two generations, so choose a multiple of {cycle}."
            )


def _evaluation_completions(config: RunConfig, steps: int) -> int:
    items = [chosen.limit for chosen in config.evaluation.sets]
    times = evaluation_steps(config, steps)
    each = [
        1 + (config.evaluation.num_samples if is_sampled(config, step, steps) else 0)
        for step in times
    ]
    return sum(items) * sum(each)
