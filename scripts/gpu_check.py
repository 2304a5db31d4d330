"""Every check of the trainer that needs a GPU, as one command; nothing is downloaded.

    python scripts/gpu_check.py --out results/gpu_check.json            # all of them
    python scripts/gpu_check.py --only qlora_2b --cap-gib 15.5          # one, as on a small card

Models have the published architectures and random weights. A check runs in a process of its own
whose GPU memory is capped (`torch.cuda.set_per_process_memory_fraction`), which emulates a smaller
card. The result holds, for each check, predicted and measured peak memory and seconds, or the
error. This script has not been run on a GPU (docs/gpu.md).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Check:
    """One forward and backward pass of rows x tokens, and one generation, of a known model."""

    model: str
    cap_gib: float
    rank: int | None = 16
    quantize: str = "none"
    rows: int = 2
    generated: int = 32
    tokens: int = 512
    side: int = 448


CHECKS = {
    "lora_2b": Check("Qwen/Qwen2-VL-2B-Instruct", 15.5),
    "qlora_2b": Check("Qwen/Qwen2-VL-2B-Instruct", 15.5, quantize="4bit"),
    "qlora_3b": Check("Qwen/Qwen2.5-VL-3B-Instruct", 15.5, quantize="4bit"),
    "qlora_7b": Check("Qwen/Qwen2.5-VL-7B-Instruct", 23.5, quantize="4bit"),
    "full_2b": Check("Qwen/Qwen2-VL-2B-Instruct", 79.0, rank=None),
}


def build(check: Check) -> Any:
    """A random model on the GPU; a quantised one goes through a folder, as a checkpoint does."""
    import tempfile

    import torch
    from peft import get_peft_model
    from transformers import AutoModelForImageTextToText

    from ekipl_lab.policies.adapters import lora_config, quantization_config
    from ekipl_lab.training.memory.shape import model_config

    config = model_config(check.model)
    with torch.device("cuda"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    if check.quantize == "4bit":
        with tempfile.TemporaryDirectory() as folder:
            model.to("cpu").save_pretrained(folder)
            del model
            torch.cuda.empty_cache()
            model = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=torch.bfloat16,
                quantization_config=quantization_config(torch.bfloat16),
                device_map={"": 0},
            )
    if check.rank is None:
        return model
    return get_peft_model(model, lora_config(model, rank=check.rank))


def inputs(check: Check, rows: int, length: int, model: Any) -> dict[str, Any]:
    """Random text after one image for every row."""
    import torch

    from ekipl_lab.training.memory.shape import shape_of

    shape = shape_of(check.model)
    tokens, patches = shape.image(check.side)
    side = int(patches**0.5)
    config = model.config
    start = [config.vision_start_token_id] + [config.image_token_id] * tokens
    ids = torch.randint(100, 1000, (rows, length), device="cuda")
    ids[:, : len(start)] = torch.tensor(start, device="cuda")
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == config.image_token_id).int(),
        "pixel_values": torch.randn(rows * patches, shape.patch_values, device="cuda"),
        "image_grid_thw": torch.tensor([[1, side, side]] * rows, device="cuda"),
    }


def measure(check: Check) -> dict[str, Any]:
    """Two training steps and one generation under the cap; peaks and seconds of each."""
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from ekipl_lab.training.memory.components import GIB, Workload, predict
    from ekipl_lab.training.memory.shape import shape_of

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, check.cap_gib * GIB / total))
    shape = shape_of(check.model)
    work = Workload(
        rows=check.rows, generated=check.generated, sampled=check.generated, text_tokens=256,
        images=1, side=check.side, completion=check.tokens, dtype="bfloat16", compute="bfloat16",
        rank=check.rank, quantized=check.quantize == "4bit", checkpointing=True,
    )  # fmt: skip
    result: dict[str, Any] = {"predicted_gib": predict(shape, work).total / GIB}
    model = build(check)
    base = model.get_base_model() if check.rank is not None else model
    model.gradient_checkpointing_enable()
    if check.rank is not None:
        model.enable_input_require_grads()
    plain_forward = base.forward
    add_fused_lm_head(base, outputs=("log_probs", "entropy"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    prompt = 256 + shape.image(check.side)[0]
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        begun = time.perf_counter()
        batch = inputs(check, check.rows, prompt + check.tokens, base)
        labels = batch["input_ids"].clone()
        labels[:, :prompt] = -100
        with torch.autocast("cuda", torch.bfloat16):
            model.train()(**batch, labels=labels, fused_lm_head=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        result["step_seconds"] = time.perf_counter() - begun
    result["step_peak_gib"] = torch.cuda.max_memory_allocated() / GIB
    base.forward = plain_forward
    torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        model.eval().generate(
            **inputs(check, check.generated, prompt, base),
            max_new_tokens=check.tokens, min_new_tokens=check.tokens, do_sample=True,
        )  # fmt: skip
    result["generation_seconds"] = time.perf_counter() - begun
    result["generation_peak_gib"] = torch.cuda.max_memory_allocated() / GIB
    return result


def main() -> int:
    """Run the checks, each in a fresh process, and write what they gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/gpu_check.json"))
    parser.add_argument("--only", choices=sorted(CHECKS), default=None)
    parser.add_argument("--cap-gib", type=float, default=None)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("gpu_check: there is no CUDA GPU here; nothing was checked.", file=sys.stderr)
        return 2
    if args.inside:
        check = CHECKS[args.only]
        cap = args.cap_gib or check.cap_gib
        print(json.dumps(measure(dataclasses.replace(check, cap_gib=cap))))
        return 0
    results: dict[str, Any] = {"device": torch.cuda.get_device_name(0), "torch": torch.__version__}
    for name in [args.only] if args.only else CHECKS:
        command = [sys.executable, __file__, "--inside", "--only", name]
        command += ["--cap-gib", str(args.cap_gib)] if args.cap_gib else []
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = (run.stdout if run.returncode == 0 else run.stderr).strip().splitlines()
        last = lines[-1] if lines else f"ended with {run.returncode}"
        results[name] = json.loads(last) if run.returncode == 0 else {"error": last}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(name, results[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
