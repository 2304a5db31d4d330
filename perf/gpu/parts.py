"""The parts of the GPU check: what each runs, in how many seconds at most, and what it returns.

A part raises `Skipped` where it cannot be run, and anything else where it fails. Numbers it
returns go into the record; what must hold is asserted. In ``--tiny`` a part runs the same code
on a shrunk model, on a CPU too unless it says why not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ekipl_lab.training.memory.components import GIB, predict
from ekipl_lab.training.memory.estimate import run_shape, with_prompts, workload
from ekipl_lab.training.memory.prompts import prompt_sizes
from ekipl_lab.training.run import train
from perf.gpu.models import THREE_B, TWO_B, checkpoint


class Skipped(Exception):
    """Why a part was not run."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a part works: an empty folder, the device, small or not, the memory it may use."""

    folder: Path
    device: str
    tiny: bool
    cap_gib: float | None = None

    def needs(self, *packages: str, gpu: bool = True) -> None:
        """Skipped where one of these is missing."""
        if gpu and self.device != "cuda":
            raise Skipped("needs a CUDA GPU")
        if missing := [name for name in packages if find_spec(name) is None]:
            raise Skipped(f"needs {' and '.join(missing)}, not installed")


@dataclasses.dataclass(frozen=True)
class Part:
    """A function, its time limit, and what it is about."""

    run: Callable[[Place], dict[str, Any]]
    seconds: int
    about: str


def settings(place: Place, model: str, **grpo: Any) -> dict[str, Any]:
    """A run of the benchmark's pictures from a random checkpoint, 8 completions a prompt."""
    small = place.tiny
    own: dict[str, Any] = {
        "num_generations": 4 if small else 8, "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2 if small else 8,
        "max_completion_length": 8 if small else 128, "max_steps": 2, "learning_rate": 1e-5,
        "activation_checkpointing": True,
    }  # fmt: skip
    return {
        "name": "check",
        "policy": {"path": model},
        "data": {"limit": 8, "image_size": 56 if small else 448},
        "grpo": own | grpo,
        "evaluation": {"at_start": False, "every": 0, "at_end": False},
        "tracking": {"checkpoint_every": 1},
    }


def learning(place: Place, model: str, **grpo: Any) -> dict[str, Any]:
    """The same, shrunk, with a teacher whose actions a random policy learns from."""
    small = dataclasses.replace(place, tiny=True)
    given = settings(small, model, **{"max_completion_length": 48} | grpo)
    given["data"]["families"] = ["count_one"]
    return given | {"teachers": [{"type": "oracle", "id": "oracle"}]}


def parsed(given: dict[str, Any]) -> Any:
    """The settings as a run's config."""
    from ekipl_lab.training.config.run_config import parse_config

    return parse_config(given)


# ------------------------------------------------------------------------------------- memory


def memory(
    place: Place, *, model: str, quantize: str = "none", rank: int | None = 16, cap: float = 15.5
) -> dict[str, Any]:
    """The worst step by ``--probe`` under a cap, against what ``--dry-run`` predicts for it."""
    from ekipl_lab.policies.load import load_processor
    from ekipl_lab.training.probe import probe
    from ekipl_lab.training.run_data import load_training_samples

    if quantize != "none":
        place.needs("bitsandbytes")
    path = checkpoint(model, place.folder / "model", place.device, "bfloat16", tiny=place.tiny)
    given = settings(place, str(path))
    given["policy"] |= {"dtype": "bfloat16", "quantize": quantize}
    if rank is not None:
        given["policy"]["adapter"] = {"rank": rank}
    config = parsed(given)
    shape = run_shape(config)
    sizes = prompt_sizes(load_training_samples(config), shape, load_processor(str(path)))
    predicted = predict(shape, with_prompts(workload(config), shape, sizes)).total
    if place.device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        share = (place.cap_gib or cap) * GIB / total
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    found = probe(config)
    seen = {
        "parameters": shape.parameters, "predicted_gib": predicted / GIB,
        "measured_gib": found.peak_bytes / GIB, "seconds": found.seconds,
        "tokens_per_second": found.tokens / found.seconds,
        "measured_over_predicted": found.peak_bytes / predicted,
    }  # fmt: skip
    if found.gpu:
        seen["allocated_gib"] = torch.cuda.max_memory_allocated() / GIB
        if found.peak_bytes > 1.1 * predicted:
            raise AssertionError(f"the plan promised less memory than the step took: {seen}")
    return seen


# ---------------------------------------------------------------------- training and resuming


def losses(run_id: str) -> dict[str, list[float]]:
    """Loss and gradient norm of each step; AssertionError for one that is not finite."""
    from ekipl_lab.tracking import metric_history

    history = metric_history(run_id)
    found = {name: [value for _, value in history[name]] for name in ("loss", "grad_norm")}
    if not all(torch.isfinite(torch.tensor(values)).all() for values in found.values()):
        raise AssertionError(f"not finite: {found}")
    return found


def resumed(place: Place, **grpo: Any) -> dict[str, Any]:
    """Four steps at once, and two that were stopped and two more: losses and weights apart by?"""
    from safetensors.torch import load_file

    path = checkpoint(THREE_B, place.folder / "model", place.device, "float32", tiny=True)
    ended = []
    for name, steps in (("whole", (4,)), ("parts", (2, 4))):
        for until in steps:
            given = learning(place, str(path), **grpo, max_steps=until, learning_rate=1e-4)
            ended.append(train(parsed(given | {"name": name})))
    whole, parts = ended[0], ended[-1]
    weights = [load_file(run.policy / "model.safetensors") for run in (whole, parts)]
    start = load_file(path / "model.safetensors")
    apart = max(float((weights[0][n] - weights[1][n]).abs().max()) for n in weights[0])
    moved = max(float((weights[0][n] - start[n]).abs().max()) for n in weights[0])
    if not moved > 0:
        raise AssertionError("four steps changed no weight")
    return losses(whole.run_id) | {
        "resumed_loss": losses(parts.run_id)["loss"], "moved": moved,
        "resumed_apart": apart, "to_the_bit": apart == 0.0,
    }  # fmt: skip


def bf16(place: Place) -> dict[str, Any]:
    """bfloat16 autocast over float32 weights."""
    return resumed(place, bf16=True)


def fp16(place: Place) -> dict[str, Any]:
    """float16 autocast with a gradient scaler, which no CPU has."""
    place.needs()
    return resumed(place, fp16=True)


def float32(place: Place) -> dict[str, Any]:
    """No mixed precision."""
    return resumed(place, bf16=False)


def one_run(place: Place, policy: dict[str, Any], **grpo: Any) -> dict[str, Any]:
    """Two steps from a shrunk checkpoint with more settings; its losses."""
    path = checkpoint(THREE_B, place.folder / "model", place.device, "float32", tiny=True)
    given = learning(place, str(path), **grpo)
    given["policy"] |= policy
    return dict(losses(train(parsed(given)).run_id))


def liger(place: Place) -> dict[str, Any]:
    """``use_liger_kernel``."""
    place.needs("liger_kernel")
    return one_run(place, {}, use_liger_kernel=True)


def flash_attention(place: Place) -> dict[str, Any]:
    """``attn_implementation: flash_attention_2`` on bfloat16 weights."""
    place.needs("flash_attn")
    policy = {"attn_implementation": "flash_attention_2", "dtype": "bfloat16", "adapter": {}}
    return one_run(place, policy)


def adamw_8bit(place: Place) -> dict[str, Any]:
    """``optim: paged_adamw_8bit``."""
    place.needs("bitsandbytes")
    return one_run(place, {}, optim="paged_adamw_8bit")


# ---------------------------------------------------------------------------------- generation


def generation(place: Place) -> dict[str, Any]:
    """Greedy completions of our loop against those of ``generate``, in float32 on the device."""
    from ekipl_lab.benchmarks import load_samples
    from ekipl_lab.policies.load import load_policy
    from ekipl_lab.policies.source import PolicySource, encode_prompts, suppressed_token_ids
    from ekipl_lab.types import GenerationParams

    path = checkpoint(TWO_B, place.folder / "model", place.device, "float32", tiny=True)
    policy = load_policy(path, device=place.device)
    samples = load_samples("mini", task="counting", split="test", limit=4)
    params = GenerationParams(max_new_tokens=16, temperature=0.0)
    ours = PolicySource(policy).propose(samples, 1, params)
    inputs = encode_prompts(policy, samples)
    theirs = policy.model.generate(
        **inputs, do_sample=False, max_new_tokens=16, suppress_tokens=suppressed_token_ids(policy)
    )[:, inputs["input_ids"].shape[1] :].tolist()
    same = sum(
        list(action.token_ids or ()) == row[: len(action.token_ids or ())]
        for (action,), row in zip(ours, theirs, strict=True)
    )
    if same < 3:  # one tie may break another way
        raise AssertionError(f"only {same} of 4 completions are those of generate")
    return {"completions": 4, "equal": same}


# --------------------------------------------------------------------------------------- parts


def _parts() -> dict[str, Part]:
    from perf.gpu.engines import (
        contract,
        demo,
        fsdp2,
        probe_command,
        vllm_colocate,
        vllm_server,
        zero3,
    )  # fmt: skip
    from perf.gpu.speed import speed

    def about(function: Any) -> str:
        return str(function.__doc__).splitlines()[0]

    plain = {
        "float32": (float32, 90), "bf16": (bf16, 90), "fp16": (fp16, 90),
        "generation": (generation, 90), "probe": (probe_command, 90), "fsdp2": (fsdp2, 120),
        "zero3": (zero3, 120), "vllm_colocate": (vllm_colocate, 180),
        "vllm_server": (vllm_server, 180), "liger": (liger, 90),
        "flash_attention": (flash_attention, 90), "adamw_8bit": (adamw_8bit, 90),
        "demo": (demo, 180), "contract": (contract, 180),
    }  # fmt: skip
    parts = {name: Part(run, limit, about(run)) for name, (run, limit) in plain.items()}
    large = {
        "memory_qlora_3b": {"model": THREE_B, "quantize": "4bit"},
        "memory_lora_2b": {"model": TWO_B},
    }
    for name, chosen in large.items():
        parts[name] = Part(partial(memory, **chosen), 180, about(memory))
    for tokens in (256, 1024):
        run = partial(speed, image_tokens=tokens)
        parts[f"speed_{tokens}"] = Part(run, 150, about(speed))
    order = ["memory_qlora_3b", "speed_256", "bf16", "fp16", "fsdp2", "probe", "vllm_colocate"]
    return {name: parts[name] for name in [*order, *(n for n in parts if n not in order)]}


PARTS = _parts()
