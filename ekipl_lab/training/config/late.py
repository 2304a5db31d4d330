"""Settings of ``grpo:`` that libraries read only while a run trains, tried beforehand."""

from __future__ import annotations

import inspect
from copy import copy
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.validation import complaint

if TYPE_CHECKING:
    from trl import GRPOConfig

#: What a schedule is given by the trainer, and never by ``grpo.lr_scheduler_kwargs``.
_OF_THE_TRAINER = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}

#: What transformers reads of ``fsdp_config``.
_FSDP_SETTINGS = (
    "version", "reshard_after_forward", "auto_wrap_policy", "transformer_layer_cls_to_wrap",
    "min_num_params", "cpu_offload", "cpu_ram_efficient_loading", "state_dict_type",
    "activation_checkpointing", "forward_prefetch", "backward_prefetch", "use_orig_params",
    "sync_module_states", "limit_all_gathers", "xla", "xla_fsdp_v2", "xla_fsdp_grad_ckpt",
    "xla_fsdp_settings",
)  # fmt: skip

_ALONE = "GRPO samples every completion by itself"
_COUNTED = "grpo.num_generations says how many completions a prompt has"
_LENGTH = "grpo.max_completion_length is the length"
_TOKENS = "the policy's own processor says which token that is"
#: Of transformers and vLLM; each would change what is sampled behind the loss's back.
_SET_ELSEWHERE = {
    **dict.fromkeys(("do_sample", "num_beams", "num_beam_groups", "penalty_alpha"), _ALONE),
    **dict.fromkeys(("num_return_sequences", "n"), _COUNTED),
    **dict.fromkeys(("max_new_tokens", "max_length", "max_tokens"), _LENGTH),
    **dict.fromkeys(("eos_token_id", "pad_token_id", "bos_token_id"), _TOKENS),
    "temperature": "grpo.temperature is what the loss knows of",
}


def check_late(args: GRPOConfig) -> None:
    """Raise ConfigError for what the optimiser, schedule, sampling or checkpointing would refuse,
    or leave aside without a word."""
    _optimiser(args)
    _schedule(args)
    _sampling(args)
    _reading(args)
    _checkpointing(args)
    _sharding(args)
    _accelerator(args)


def _optimiser(args: GRPOConfig) -> None:
    import torch
    from transformers import Trainer

    if not args.optim_args:
        return
    without = copy(args)
    without.optim_args = None
    try:
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(args)
        if kind.__module__.startswith("torch."):
            kind([torch.nn.Parameter(torch.zeros(1))], **settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"grpo.optim_args {args.optim_args!r} is not read by {_name(args)} ({error}); give "
            "name=value, name=value."
        ) from error
    if (kind, settings) == Trainer.get_optimizer_cls_and_kwargs(without):
        raise ConfigError(
            f"grpo.optim_args {args.optim_args!r} changes nothing of {_name(args)}; leave it out."
        )


def _name(args: GRPOConfig) -> str:
    return str(getattr(args.optim, "value", args.optim))


def _schedule(args: GRPOConfig) -> None:
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    known = inspect.signature(TYPE_TO_SCHEDULER_FUNCTION[args.lr_scheduler_type]).parameters
    _refuse_unknown(
        "grpo.lr_scheduler_kwargs", args.lr_scheduler_kwargs, set(known) - _OF_THE_TRAINER
    )
    if args.warmup_steps and "num_warmup_steps" not in known:
        raise ConfigError(
            f"grpo.warmup_steps {args.warmup_steps:g} changes nothing of grpo.lr_scheduler_type "
            f"{args.lr_scheduler_type.value}; constant_with_warmup, linear and cosine read it."
        )
    _try_schedule(args)


def _try_schedule(args: GRPOConfig) -> None:
    """Make the schedule and ask for its first and last rates."""
    import torch
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import get_scheduler

    steps = args.max_steps if args.max_steps > 0 else 10
    weights = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate)
    try:
        made = get_scheduler(
            args.lr_scheduler_type,
            weights,
            num_warmup_steps=args.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,
        )
        for step in (0, 1, steps - 1, steps) if isinstance(made, LambdaLR) else ():
            made.lr_lambdas[0](step)
    except (ValueError, TypeError, ArithmeticError) as error:
        kind = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
        raise ConfigError(
            f"grpo.lr_scheduler_type {kind} cannot be used with grpo.lr_scheduler_kwargs "
            f"{args.lr_scheduler_kwargs!r} ({error}); fix them."
        ) from error


def _sampling(args: GRPOConfig) -> None:
    from transformers import GenerationConfig, SequenceBiasLogitsProcessor

    given = args.generation_kwargs or {}
    if not args.use_vllm:
        known = set(GenerationConfig().to_dict()) - {"stop_strings"}  # needs a tokenizer
        _refuse_unknown("grpo.generation_kwargs", given, known)
    for key in sorted(_SET_ELSEWHERE.keys() & given):
        raise ConfigError(f"grpo.generation_kwargs.{key}: {_SET_ELSEWHERE[key]}; leave it out.")
    try:
        if given.get("sequence_bias") is not None:
            SequenceBiasLogitsProcessor(given["sequence_bias"])
    except (ValueError, TypeError) as error:
        raise ConfigError(f"grpo.generation_kwargs: {error}") from error
    try:
        GenerationConfig(cache_implementation=args.cache_implementation).validate()
    except ValueError as error:
        raise ConfigError(f"grpo.cache_implementation: {str(error).splitlines()[0]}") from error


def _reading(args: GRPOConfig) -> None:
    if args.dataloader_persistent_workers and not args.dataloader_num_workers:
        raise ConfigError(
            "grpo.dataloader_persistent_workers needs grpo.dataloader_num_workers; set it too."
        )


def _checkpointing(args: GRPOConfig) -> None:
    from torch.utils.checkpoint import checkpoint

    known = {
        name
        for name, each in inspect.signature(checkpoint).parameters.items()
        if each.kind is inspect.Parameter.KEYWORD_ONLY or each.default is not each.empty
    } | {"preserve_rng_state"}
    given = args.activation_checkpointing_kwargs
    _refuse_unknown("grpo.activation_checkpointing_kwargs", given, known)


def _sharding(args: GRPOConfig) -> None:
    if args.fsdp:  # read, and made a dict, by TRL's arguments
        known = {*_FSDP_SETTINGS, *(f"fsdp_{name}" for name in _FSDP_SETTINGS)}
        _refuse_unknown("grpo.fsdp_config", args.fsdp_config, known)
    elif args.fsdp_config is not None:
        raise ConfigError(
            f"grpo.fsdp_config is {args.fsdp_config!r}, and without grpo.fsdp it changes "
            "nothing; set grpo.fsdp too, or leave it out."
        )
    if args.deepspeed is not None and not args.deepspeed:
        raise ConfigError(
            f"grpo.deepspeed is {args.deepspeed!r}: it must hold settings, or name their file."
        )


def _accelerator(args: GRPOConfig) -> None:
    """Its names are checked when it is read, its values only by the trainer."""
    own = args.accelerator_config
    hints = get_type_hints(type(own))
    for name, value in vars(own).items():
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            wrong = complaint(error.errors()[0], "it")
            raise ConfigError(f"grpo.accelerator_config.{name} is {value!r}: {wrong}.") from error
    given = own.gradient_accumulation_kwargs
    where = "grpo.accelerator_config.gradient_accumulation_kwargs"
    _refuse_unknown(where, given, {"adjust_scheduler", "sync_with_dataloader", "sync_each_batch"})
    for key, value in (given or {}).items():
        if not isinstance(value, bool):
            raise ConfigError(f"{where}.{key} is {value!r}: it must be true or false.")


def _refuse_unknown(where: str, given: Any, known: set[str]) -> None:
    if given is None or given == "":
        return
    if not isinstance(given, dict):
        raise ConfigError(f"{where} is {given!r}: it must hold settings (key: value).")
    for key in given:
        if key not in known:
            raise unknown_name(f"key of {where}", str(key), sorted(known))


def check_engine(args: GRPOConfig) -> None:
    """Raise ConfigError where the config needs a library that is not on this machine: vLLM, or that
    of an optimiser. (A plan may be made elsewhere.)"""
    from transformers import Trainer
    from trl.import_utils import is_vllm_available

    try:
        Trainer.get_optimizer_cls_and_kwargs(args)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"grpo.optim {_name(args)} cannot be used here: {error}") from error

    if args.use_vllm and not is_vllm_available():
        raise ConfigError(
            "grpo.use_vllm needs vLLM, which is not installed here; `pip install '.[gpu,vllm]' -c "
            "constraints-vllm.txt`, or leave it out."
        )
