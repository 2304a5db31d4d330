"""The settings under ``grpo:``: fields of TRL's own GRPOConfig, with our defaults, each checked."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ekipl_lab.errors import ConfigError
from ekipl_lab.validation import LEAST_TEMPERATURE, MOST_TEMPERATURE, complaint

#: Our defaults for ``grpo`` where TRL's differ: the paper's preset (docs/method.md), and a
#: schedule without decay, so that a run's length does not change its beginning.
PRESET: dict[str, Any] = {
    "loss_type": "grpo",
    "num_generations": 8,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "max_completion_length": 64,
    "temperature": 1.0,
    "epsilon": 0.2,
    "num_iterations": 1,
    "beta": 0.0,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant",
    "activation_checkpointing": False,
}

#: Fields of GRPOConfig that a run sets itself, and where to say so instead.
OWNED = {
    "output_dir": "name",
    "run_name": "name",
    "seed": "seed",
    "data_seed": "seed",
    "scale_rewards": "ekipl.scale_rewards",
    "reward_weights": "reward.weights",
    "multi_objective_aggregation": "reward.weights (rewards are one total per action)",
    "report_to": "tracking.report_to (MLflow is always written)",
    "logging_steps": "nothing: every step is logged",
    "logging_strategy": "nothing: every step is logged",
    "log_completions": "nothing: every group is recorded",
    "save_strategy": "tracking.checkpoint_every",
    "save_steps": "tracking.checkpoint_every",
    "save_total_limit": "tracking.keep_checkpoints",
    "save_only_model": "tracking.checkpoint_every",
    "resume_from_checkpoint": "nothing: the same command continues",
    "eval_strategy": "evaluation.every",
    "eval_steps": "evaluation.every",
    "eval_on_start": "evaluation.at_start",
    "do_eval": "evaluation.every",
    "do_train": "nothing",
    "remove_unused_columns": "nothing",
    "disable_tqdm": "nothing: progress comes as events",
    "load_best_model_at_end": "nothing: the best checkpoint is marked in MLflow",
    "push_to_hub": "nothing: nothing is uploaded",
    "model_init_kwargs": "policy.dtype, policy.attn_implementation, policy.quantize",
    "parallelism_config": "the launcher's own settings (accelerate)",
    "trust_remote_code": "nothing: remote code is never run",
    "gradient_checkpointing": "grpo.activation_checkpointing",
    "gradient_checkpointing_kwargs": "grpo.activation_checkpointing_kwargs",
    "ignore_data_skip": "nothing: a run goes on with the prompts that come next",
    "label_smoothing_factor": "nothing: GRPO has no labels",
    "label_names": "nothing: GRPO has no labels",
    "train_sampling_strategy": "nothing: prompts come in the order of the seed",
    "length_column_name": "nothing: prompts come in the order of the seed",
    "metric_for_best_model": "nothing: the best checkpoint is marked in MLflow",
    "greater_is_better": "nothing: the best checkpoint is marked in MLflow",
    "num_generations_eval": "evaluation.num_samples",
    **dict.fromkeys(
        ("eval_delay", "per_device_eval_batch_size", "eval_accumulation_steps", "do_predict",
         "prediction_loss_only", "eval_do_concat_batches", "eval_use_gather_object",
         "include_for_metrics", "batch_eval_metrics", "bf16_full_eval", "fp16_full_eval"),
        "evaluation: the run measures by itself",
    ),
    **dict.fromkeys(
        ("hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push",
         "hub_revision", "log_completions_hub_repo"),
        "nothing: nothing is uploaded",
    ),
    **dict.fromkeys(
        ("log_multimodal", "num_completions_to_print", "log_unique_prompts"),
        "nothing: every group is recorded",
    ),
}  # fmt: skip

#: Numbers of ``grpo`` that must be above 0, and those below 0 that mean something (-1: none).
POSITIVE = {
    "num_generations",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "steps_per_generation",
    "generation_batch_size",
    "num_iterations",
    "num_train_epochs",
    "max_completion_length",
    "temperature",
    "repetition_penalty",
    "top_p",
}
AT_MOST_ONE = {
    "top_p",
    "min_p",
    "adam_beta1",
    "adam_beta2",
    "warmup_ratio",
    "top_entropy_quantile",
    "ref_model_mixup_alpha",
    "vllm_gpu_memory_utilization",
}
#: Beyond these nothing is learned, or the weights are no numbers after a step.
MOST = {
    "learning_rate": 10,
    "weight_decay": 10,
    "adam_epsilon": 1,
    "beta": 1000,
    "repetition_penalty": 100,
}
MAY_BE_NEGATIVE = {"local_rank", "ddp_timeout", "vllm_importance_sampling_cap"}
LARGEST = 2**31
#: Processes that read data: each holds all of it.
MOST_WORKERS = 64


@functools.cache
def grpo_fields() -> dict[str, Any]:
    """Name -> type of all fields of TRL's GRPOConfig (imports TRL)."""
    import dataclasses
    import typing

    from ekipl_lab.libraries import check_torchvision

    check_torchvision()
    from trl import GRPOConfig

    hints = typing.get_type_hints(GRPOConfig)
    return {field.name: hints[field.name] for field in dataclasses.fields(GRPOConfig) if field.init}


def grpo_value(key: str, value: Any) -> Any:
    """The value as GRPOConfig has it; ConfigError for an unknown, owned or ill-typed one."""
    if key in OWNED:
        raise ConfigError(f"grpo.{key} is not set there; use {OWNED[key]}.")
    if key not in grpo_fields():
        near = difflib.get_close_matches(key, grpo_fields(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "see its documentation."
        raise ConfigError(f"Unknown key in grpo {key!r} (a field of TRL's GRPOConfig); {hint}")
    try:
        checked = TypeAdapter(grpo_fields()[key]).validate_python(value)
    except ValidationError as error:
        wrong = complaint(error.errors()[0], "it")
        raise ConfigError(f"grpo.{key} is {value!r}: {wrong}.") from error
    if isinstance(value, bool) and not isinstance(checked, bool):
        raise ConfigError(f"grpo.{key} is {value!r}: it must be a number, not true or false.")
    if isinstance(checked, int | float) and not isinstance(checked, bool):
        wrong = next((words for outside, words in _bounds(key) if outside(checked)), "")
        if wrong:
            raise ConfigError(f"grpo.{key} is {value!r}: it must be {wrong}.")
    return checked


def _bounds(key: str) -> list[tuple[Callable[[float], bool], str]]:
    """What a number of ``grpo`` must not be, and what it must be instead."""
    bounds: list[tuple[Callable[[float], bool], str]] = [
        (lambda value: not abs(value) < LARGEST, f"a finite number below {LARGEST}"),
    ]
    if key == "max_steps":
        bounds.append((lambda value: value < 1 and value != -1, "1 or more, or -1 for epochs"))
    elif key in POSITIVE:
        bounds.append((lambda value: value <= 0, "more than 0"))
    elif key not in MAY_BE_NEGATIVE:
        bounds.append((lambda value: value < 0, "0 or more"))
    if key == "dataloader_num_workers":
        bounds.append((lambda value: value > MOST_WORKERS, f"at most {MOST_WORKERS}"))
    if key == "temperature":
        within = f"from {LEAST_TEMPERATURE} to {MOST_TEMPERATURE:g}"
        bounds.append((lambda value: not LEAST_TEMPERATURE <= value <= MOST_TEMPERATURE, within))
    if key in MOST:
        bounds.append((lambda value: value > MOST[key], f"{MOST[key]} or less"))
    if key in AT_MOST_ONE:
        bounds.append((lambda value: value > 1, "1 or less"))
    return bounds
