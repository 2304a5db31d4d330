"""The policy that a run starts from, and the adapter that it trains."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.training.checkpoint import is_whole, mark_complete
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.paths import policy_path

if TYPE_CHECKING:
    from ekipl_lab.policies.load import Policy


def policy_without_weights(config: RunConfig) -> Policy | None:
    """The policy with a model that has shapes alone; None for one of the hub not at hand."""
    from ekipl_lab.policies.build import build_tiny_policy
    from ekipl_lab.policies.load import as_policy, check_checkpoint, is_local, load_processor
    from ekipl_lab.training.memory.shape import meta_model

    own = config.policy
    if own.build is not None:
        model, processor = build_tiny_policy(own.build, config.seed)
        return as_policy(model, processor)
    path = policy_path(own.path or "")
    _check_no_adapter(config, path)
    if not Path(path).is_dir() and not is_local(path):
        return None
    model = meta_model(check_checkpoint(path))
    return as_policy(model, load_processor(path), Path(path).name)


def save_start(config: RunConfig, folder: Path) -> str | Path:
    """Where the policy starts from; a built one is saved, so that a reference can be loaded too."""
    from ekipl_lab.policies.build import build_tiny_policy
    from ekipl_lab.policies.save import save_policy

    own = config.policy
    if own.build is None:
        return policy_path(own.path or "")
    path = folder / "start"
    if not is_whole(path):
        shutil.rmtree(path, ignore_errors=True)
        model, processor = build_tiny_policy(own.build, config.seed)
        save_policy(model, processor, path, dtype="float32")
        mark_complete(path, 0, {})
    return path


def load_run_policy(config: RunConfig, folder: Path) -> Policy:
    """The policy in memory, frozen in part as the settings say."""
    from ekipl_lab.policies.adapters import freeze_parts
    from ekipl_lab.policies.load import load_policy

    own, path = config.policy, save_start(config, folder)
    _check_no_adapter(config, path)
    policy = load_policy(
        path, dtype=own.dtype, quantize=own.quantize, attention=own.attn_implementation
    )
    freeze_parts(policy.model, own.frozen)
    return policy


def _check_no_adapter(config: RunConfig, path: str | Path) -> None:
    from ekipl_lab.policies.adapters import is_adapter_folder

    if is_adapter_folder(path):
        raise ConfigError(
            f"policy.path {config.policy.path!r} is an adapter; training starts from whole "
            "weights, so merge it first (`ekipl merge`)."
        )


def run_adapter(config: RunConfig, policy: Policy) -> Any:
    """PEFT's configuration of the run's adapter, None if the weights themselves are trained."""
    from ekipl_lab.policies.adapters import lora_config

    own = config.policy.adapter
    return None if own is None else lora_config(policy.model, **own.model_dump())
