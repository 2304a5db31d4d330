"""``ekipl train --dry-run``: the memory of a config, by part, and whether it fits.

The model is built from its configuration on torch's meta device; no weights are needed.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache

from ekipl_lab.errors import ConfigError
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.load import check_checkpoint, is_local, load_processor
from ekipl_lab.training.config.plan import Plan, plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import batch_sizes, planned_processes
from ekipl_lab.training.config.targets import TARGETS
from ekipl_lab.training.memory.components import (
    GIB,
    Engine,
    Prediction,
    Workload,
    predict,
    settings_that_fit,
    trained_parameters,
)
from ekipl_lab.training.memory.known_models import KNOWN
from ekipl_lab.training.memory.machine import checkpoint_bytes, disk_bytes, host_bytes
from ekipl_lab.training.memory.prompts import PromptSizes
from ekipl_lab.training.memory.shape import ModelShape, shape_of
from ekipl_lab.training.paths import policy_path


def describe_memory(config: RunConfig, sizes: PromptSizes | None = None) -> str:
    """The predicted memory of one process as text, and of the host and the disk.

    ``sizes``: those of the real prompts; None: as ``hardware`` says. Raises ConfigError, with
    settings that would fit, if it is more than there is.
    """
    shape = run_shape(config)
    work = with_prompts(workload(config), shape, sizes)
    prediction = predict(shape, work)
    text, machine = format_memory(shape, work, prediction), _machine(config, shape, work)
    available = available_bytes(config)
    if available is None:
        return f"{text}\n{machine}"
    text += f"\n  {'available':32}{available / GIB:9.3f} GiB"
    if prediction.total <= available:
        return f"{text}\n{machine}"
    fitting = settings_that_fit(shape, work, available)
    fix = (
        f"it would fit with {' '.join(f'{key}={value}' for key, value in fitting.items())}."
        if fitting
        else "no setting of one process is enough; share the weights among more GPUs "
        "(hardware.sharding) or take a smaller model."
    )
    raise ConfigError(
        f"This run needs about {prediction.total / GIB:.1f} GiB on each process, and there are "
        f"{available / GIB:.1f} GiB; {fix}\n{text}"
    )


def format_memory(shape: ModelShape, work: Workload, prediction: Prediction) -> str:
    """The parts of a prediction, one a line."""
    lines = [
        f"memory of one process   {shape.parameters:,} parameters, "
        f"{trained_parameters(shape, work):,} trained"
    ]
    for title, parts in (
        ("", prediction.always),
        ("backward: ", prediction.backward),
        ("generation: ", prediction.generation),
        ("", {"allowance": prediction.allowance}),
    ):
        lines += [
            f"  {title + name:32}{size / GIB:9.3f} GiB" for name, size in parts.items() if size
        ]
    lines.append(f"  {'most at once':32}{prediction.total / GIB:9.3f} GiB")
    return "\n".join(lines)


def with_prompts(work: Workload, shape: ModelShape, sizes: PromptSizes | None) -> Workload:
    """The workload with the largest prompt seen, its images as squares of so many tokens."""
    if sizes is None:
        return work
    side = math.ceil(math.sqrt(sizes.image_tokens)) * shape.patch * shape.merge
    return replace(work, text_tokens=sizes.text_tokens, images=sizes.images, side=side or work.side)


def processor_at_hand(config: RunConfig) -> Any:
    """The processor of a config's policy; None for a hub model that was not downloaded."""
    own = config.policy
    if own.build is not None:
        return build_tiny_policy(own.build, config.seed)[1]
    path = policy_path(own.path or "")
    if not is_local(path):
        known = try_to_load_from_cache(str(path), "preprocessor_config.json")
        if not isinstance(known, str):
            return None
    return load_processor(path)


def _machine(config: RunConfig, shape: ModelShape, work: Workload) -> str:
    """Memory of the host and disk, one part a line; ConfigError if the stated host is too small."""
    processes = planned_processes(config)
    plan = plan_run(config, sizes=batch_sizes(config, processes))
    host = host_bytes(shape, work, processes)
    disk = disk_bytes(
        shape, work, keep=config.tracking.keep_checkpoints, evaluations=len(plan.evaluations)
    )
    lines = []
    for title, parts in (("memory of the host", host), ("disk", disk)):
        lines.append(f"{title:34}{sum(parts.values()) / GIB:9.3f} GiB")
        lines += [f"  {name:32}{size / GIB:9.3f} GiB" for name, size in parts.items()]
    lines[-1] += f" (a checkpoint {checkpoint_bytes(shape, work) / 1e9:.1f} GB)"
    there = config.hardware.host_memory_gib
    if there is not None and sum(host.values()) > there * GIB:
        raise ConfigError(
            f"The machine has {there:g} GiB of memory (hardware.host_memory_gib), and the run "
            f"takes about {sum(host.values()) / GIB:.1f}; take fewer processes a machine or "
            "a smaller model.\n" + "\n".join(lines)
        )
    return "\n".join(lines)


def run_shape(config: RunConfig) -> ModelShape:
    """The shape of a config's policy."""
    own = config.policy
    if own.build is not None:
        return shape_of(own.build, build=True)
    path = own.path or ""
    if path in KNOWN:
        return shape_of(path)
    place = policy_path(path)
    if is_local(place):
        check_checkpoint(place)
    return shape_of(place)


def workload(config: RunConfig) -> Workload:
    """What a config asks of one process."""
    own, hardware, grpo = config.policy, config.hardware, config.grpo_settings
    processes = planned_processes(config)
    plan = plan_run(config, sizes=batch_sizes(config, processes))
    rows = int(grpo["per_device_train_batch_size"])
    gpu = hardware.memory_gib is not None or torch.cuda.is_available()
    named = TARGETS.get(hardware.target or "")
    half = "float16" if grpo.get("fp16") or (named and not named.bfloat16) else "bfloat16"
    mixed = gpu and grpo.get("bf16", True) is not False
    side = hardware.image_side or config.data.image_size
    engine, engine_bytes = _engine(config)
    generated = plan.sizes.completions // processes
    return Workload(
        rows=rows,
        generated=generated,
        sampled=max(generated if engine == "transformers" else 0, _evaluated_rows(config, plan)),
        text_tokens=hardware.text_tokens,
        images=hardware.images,
        side=side or (56 if config.data.benchmark == "mini" else 448),
        completion=int(grpo["max_completion_length"]),
        dtype=own.dtype,
        compute=half if mixed or grpo.get("fp16") else own.dtype,
        rank=None if own.adapter is None else own.adapter.rank,
        targets=() if own.adapter is None else own.adapter.targets,
        quantized=own.quantize == "4bit",
        freeze=own.frozen,
        checkpointing=bool(grpo.get("activation_checkpointing")),
        reference=float(grpo.get("beta", 0.0)) != 0.0 and own.adapter is None,
        optimizer=str(grpo.get("optim", "adamw_torch")),
        shards=1 if hardware.sharding == "none" else hardware.gpus,
        engine=engine,
        engine_bytes=engine_bytes,
        gpu=gpu,
    )


def _evaluated_rows(config: RunConfig, plan: Plan) -> int:
    """Rows that the largest evaluation batch samples at once, 0 without evaluations."""
    own = config.evaluation
    if not own.sets or not plan.evaluations:
        return 0
    draws = own.num_samples if any(plan.evaluations.values()) else 1
    most = max(chosen.limit for chosen in own.sets)
    return max(draws, min(own.max_rows, most * draws))


def _engine(config: RunConfig) -> tuple[Engine, int]:
    """How completions are generated, and what vLLM takes of this process's GPU."""
    grpo = config.grpo_settings
    if not grpo.get("use_vllm"):
        return "transformers", 0
    if grpo.get("vllm_mode", "colocate") == "server":
        return "vllm", 0
    share = float(grpo.get("vllm_gpu_memory_utilization", 0.3))
    engine: Engine = "vllm asleep" if grpo.get("vllm_enable_sleep_mode") else "vllm"
    return engine, int(share * (available_bytes(config) or 0))


def available_bytes(config: RunConfig) -> int | None:
    """Memory of the GPU that the run is planned for, of this machine's GPU, or of this machine."""
    if config.hardware.memory_gib is not None:
        return int(config.hardware.memory_gib * GIB)
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
