"""Whether the settings of a run go together, before anything is loaded; with TRL's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.training.config.combinations import RATIO_LOSSES, check_combinations
from ekipl_lab.training.config.late import check_late
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import BatchSizes, batch_sizes
from ekipl_lab.training.config.targets import TARGETS
from ekipl_lab.training.config.waits import longest_wait
from ekipl_lab.types import Scorer

if TYPE_CHECKING:
    from trl import GRPOConfig

#: All that TRL 1.16 knows; it looks at them only once it trains.
CHOICES = {
    "loss_type": (*RATIO_LOSSES, "luspo", "cispo", "sapo", "vespo"),
    "importance_sampling_level": ("token", "sequence"),
}


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """A config whose settings go together: working folder, batch sizes, scorer, TRL's arguments."""

    config: RunConfig
    folder: Path
    sizes: BatchSizes
    scorer: Scorer
    args: GRPOConfig


def check_run(config: RunConfig, folder: str | Path) -> CheckedRun:
    """Check a run that will work in ``folder``. Raises ConfigError for what does not go together.

    What depends on how many samples there are is `plan.plan_run`'s to check.
    """
    from ekipl_lab.libraries import check_torchvision

    check_torchvision()
    import torch
    from trl import GRPOConfig

    sizes = batch_sizes(config)
    on_gpu = torch.cuda.is_available()
    settings = {
        "use_cpu": not on_gpu,
        **precision(config, on_gpu),
        "ddp_timeout": longest_wait(config, sizes),
        **config.grpo_settings,
    }
    for key, known in CHOICES.items():
        if key in settings and settings[key] not in known:
            raise unknown_name(f"grpo.{key}", settings[key], known)
    check_combinations(config, settings)
    scorer = run_scorer(config)
    trackers = check_trackers(config.tracking.report_to)
    if settings.get("use_liger_kernel") and not (on_gpu and find_spec("liger_kernel")):
        raise ConfigError(
            "grpo.use_liger_kernel needs a CUDA GPU and `pip install liger-kernel`; leave it out."
        )
    if settings.get("sync_ref_model") and not settings.get("beta"):
        raise ConfigError(
            "grpo.sync_ref_model needs a reference, and grpo.beta 0 has none; set beta above 0."
        )
    scale = config.ekipl.scale_rewards
    try:
        args = GRPOConfig(
            **settings,
            output_dir=str(Path(folder) / "checkpoints"),
            seed=config.seed,
            scale_rewards=scale if scale in ("group", "none") else "group",
            report_to=trackers,
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
        )
    except Exception as error:  # accelerate reads files and packages that a setting names
        raise ConfigError(f"grpo: {(str(error) or repr(error)).splitlines()[0]}") from error
    check_late(args)
    return CheckedRun(config, Path(folder), sizes, scorer, args)


def precision(config: RunConfig, on_gpu: bool) -> dict[str, bool]:
    """TRL's mixed precision: bfloat16 on a GPU that has it, else float16; as set, if it is set.

    Raises ConfigError for bfloat16 on a planned GPU without it, and for float16 with trained
    weights in half precision, whose gradients no scaler takes.
    """
    import torch

    given, target = config.grpo_settings, config.hardware.target
    has = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else False
    if target is not None and not TARGETS[target].bfloat16:
        if given.get("bf16") or config.policy.dtype == "bfloat16":
            raise ConfigError(
                f"A {target} has no bfloat16; set policy.dtype=float16 with an adapter, or float32 "
                "without one, and grpo.fp16=true."
            )
        has = False
    if given.get("fp16") and config.policy.adapter is None and config.policy.dtype != "float32":
        raise ConfigError(
            f"grpo.fp16 scales the gradients of float32 weights, and policy.dtype is "
            f"{config.policy.dtype}; set policy.dtype=float32, or policy.adapter."
        )
    if "bf16" in given or "fp16" in given:
        return {"bf16": bool(given.get("bf16", False)), "fp16": bool(given.get("fp16", False))}
    half = on_gpu and (config.policy.adapter is not None or config.policy.dtype == "float32")
    return {"bf16": has, "fp16": half and not has}


def run_scorer(config: RunConfig) -> Scorer:
    """The scorer of a run, with the components that `RewardSettings` adds to it."""
    from ekipl_lab.rewards import get_scorer
    from ekipl_lab.rewards.extra import accuracy_of, overlong, with_extra

    own = config.reward
    extra = {
        name: (accuracy_of(get_scorer(one.scorer)), one.weight) for name, one in own.extra.items()
    }
    if own.overlong is not None:
        if "overlong" in extra:
            raise ConfigError("reward.extra.overlong is the name of reward.overlong; rename it.")
        limit = int(config.grpo_settings["max_completion_length"])
        extra["overlong"] = (overlong(limit, own.overlong.buffer), own.overlong.weight)
    return with_extra(get_scorer(own.scorer, own.weights), extra)


def check_trackers(names: Sequence[str]) -> list[str]:
    """What TRL's ``report_to`` is to hold; ConfigError for MLflow and for what is not installed."""
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    known = sorted(set(INTEGRATION_TO_CALLBACK) - {"mlflow"})
    for name in names:
        if name not in known:
            raise unknown_name("tracking.report_to", name, known)
        if name not in get_available_reporting_integrations():
            raise ConfigError(f"tracking.report_to {name!r} is not installed; install its package.")
    return list(names) or ["none"]
