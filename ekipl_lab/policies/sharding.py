"""How accelerate's launcher says that weights are split over processes, and what that changes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig


def sharded_loading(by: Sequence[str] = ("FSDP", "DEEPSPEED")) -> bool:
    """Whether accelerate was started with FSDP or DeepSpeed: no process holds the whole model."""
    return any(_is_set(f"ACCELERATE_USE_{name}") for name in by)


def uses_fsdp2() -> bool:
    """Whether the FSDP that accelerate was started with is version 2."""
    return sharded_loading(("FSDP",)) and os.environ.get("FSDP_VERSION") == "2"


def gets_weights_from_rank_0() -> bool:
    """Whether accelerate will send this process its shards: FSDP2 with RAM-efficient loading."""
    first = os.environ.get("RANK", "0") == "0"
    return uses_fsdp2() and not first and _is_set("FSDP_CPU_RAM_EFFICIENT_LOADING")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true")


def empty_model(source: str, dtype: torch.dtype) -> Any:
    """The model of a checkpoint without its weights, which are on the meta device; buffers are not.

    accelerate reads names, shapes and precisions of it, and rank 0 sends what they hold.
    """
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    with contextlib.suppress(OSError):  # a checkpoint may have none
        model.generation_config = GenerationConfig.from_pretrained(source)
    return model
