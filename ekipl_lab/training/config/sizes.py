"""The batch arithmetic of a run, as TRL's GRPOConfig has it, with errors in terms of our keys."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ekipl_lab.errors import ConfigError
from ekipl_lab.training.config.run_config import RunConfig


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """What one generation is made of, over all processes.

    ``group`` completions per prompt (G), ``completions`` of one generation, the ``micro_batches``
    it is trained on (iterations included), of which an optimiser step takes ``accumulate``.
    """

    group: int
    completions: int
    micro_batches: int
    accumulate: int

    @property
    def prompts(self) -> int:
        """Prompts per generation."""
        return self.completions // self.group

    @property
    def cycle(self) -> int:
        """Optimiser steps per generation."""
        return max(1, self.micro_batches // self.accumulate)


def world_size() -> int:
    """Processes of this run, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def planned_processes(config: RunConfig) -> int:
    """Processes that a run is planned for: those of the launcher, or one for each GPU to come."""
    return max(world_size(), config.hardware.gpus)


def batch_sizes(config: RunConfig, processes: int | None = None) -> BatchSizes:
    """The sizes on so many processes (None: as many as the launcher says).

    Raises ConfigError for sizes that do not fit together.
    """
    given = config.grpo_settings
    group = int(given["num_generations"])
    accumulate = int(given["gradient_accumulation_steps"])
    if group < 2:
        raise ConfigError(
            f"grpo.num_generations is {group}; a group needs at least 2 actions to compare."
        )
    per_update = int(given["per_device_train_batch_size"]) * (processes or world_size())
    steps = int(given.get("steps_per_generation") or accumulate)
    completions = int(given.get("generation_batch_size") or per_update * steps)
    if completions % per_update:
        raise ConfigError(
            f"grpo.generation_batch_size {completions} is not a multiple of the {per_update} rows "
            "that all processes hold at once (per_device_train_batch_size x processes)."
        )
    if completions % group:
        raise ConfigError(
            f"One generation has {completions} completions (per_device_train_batch_size x "
            f"processes x steps_per_generation), which grpo.num_generations {group} does not "
            "divide; a group would be cut."
        )
    micro_batches = completions // per_update * int(given["num_iterations"])
    if micro_batches % accumulate and accumulate % micro_batches:
        raise ConfigError(
            f"grpo.gradient_accumulation_steps {accumulate} and steps_per_generation * "
            f"num_iterations = {micro_batches} must divide one the other, or no checkpoint could "
            "fall between two generations."
        )
    sizes = BatchSizes(group, completions, micro_batches, accumulate)
    _check_boundaries(config, sizes.cycle)
    return sizes


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
