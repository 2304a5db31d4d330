"""Tokens per second of whole steps: TRL's GRPOTrainer, and ours without and with shared work."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from PIL import Image
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from ekipl_lab.policies import as_policy, suppressed_token_ids
from ekipl_lab.policies.adapters import lora_config
from ekipl_lab.training.dataset import prompt_dataset
from ekipl_lab.training.trainer import EKIPLTrainer
from ekipl_lab.types import Action, Sample
from perf.gpu.models import TWO_B, random_model
from perf.trainer.__main__ import reward

STEPS = 4  # the first of them warms up


class StepClock(TrainerCallback):  # type: ignore[misc]
    """Seconds of each step, the device's work included."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.seconds: list[float] = []

    def _now(self) -> float:
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """The clock starts."""
        self._begun = self._now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """... and stops."""
        self.seconds.append(self._now() - self._begun)


def pictures(side: int) -> list[Sample]:
    """Noise, each picture another."""
    noise = torch.Generator().manual_seed(0)
    shown = [
        torch.randint(0, 256, (side, side, 3), generator=noise, dtype=torch.uint8).numpy()
        for _ in range(8)
    ]
    return [
        Sample(
            id=f"bench/{i}", task="bench", split="train", answer="2", answer_type="number",
            images=(Image.fromarray(pixels),), question=f"How many cubes are left of sphere {i}?",
        )
        for i, pixels in enumerate(shown)
    ]  # fmt: skip


def speed(place: Any, *, image_tokens: int) -> dict[str, Any]:
    """Completion tokens per second of LoRA on the 2B shape, one prompt of 8 completions a step."""
    tokens = 8 if place.tiny else 128
    seen: dict[str, Any] = {"image_tokens": image_tokens, "completion_tokens": 8 * tokens}
    for kind in ("trl", "ekipl", "ekipl_shared"):
        seconds = step_seconds(place, kind, int(image_tokens**0.5) * 28, tokens)
        seen[f"{kind}_tokens_per_second"] = 8 * tokens / statistics.median(seconds[1:])
        seen[f"{kind}_step_seconds"] = seconds
    plain = seen["trl_tokens_per_second"]
    for kind in ("ekipl", "ekipl_shared"):
        seen[f"{kind}_over_trl"] = seen[f"{kind}_tokens_per_second"] / plain
    return seen


def step_seconds(place: Any, kind: str, side: int, tokens: int) -> list[float]:
    """Seconds of each step of a trainer of that kind, from the same weights and pictures."""
    half = place.device == "cuda" and torch.cuda.is_bf16_supported()
    model, processor = random_model(
        TWO_B, place.device, "bfloat16" if half else "float32", tiny=place.tiny
    )
    policy, samples = as_policy(model, processor), pictures(side)
    never = [*suppressed_token_ids(policy), processor.tokenizer.eos_token_id]
    args = GRPOConfig(
        output_dir=str(place.folder / kind), per_device_train_batch_size=8, num_generations=8,
        max_completion_length=tokens, max_steps=STEPS, learning_rate=1e-5, loss_type="grpo",
        use_cpu=place.device == "cpu", bf16=half, seed=1, activation_checkpointing=False,
        report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=1,
        generation_kwargs={"suppress_tokens": never},
    )  # fmt: skip
    adapter = lora_config(model, rank=16)
    if kind == "trl":

        def rewards(prompts: Any, completions: Any, **_: Any) -> list[float]:
            texts = [completion[0]["content"] for completion in completions]
            actions = [Action(text, "policy", "policy") for text in texts]
            return [float(reward(samples[0], action).total or 0) for action in actions]

        trainer: Any = GRPOTrainer(
            model, reward_funcs=rewards, args=args, train_dataset=prompt_dataset(samples),
            processing_class=processor, peft_config=adapter,
        )  # fmt: skip
    else:
        trainer = EKIPLTrainer(
            model, args=args, samples=samples, processing_class=processor, scorer=reward,
            peft_config=adapter, share_work=kind == "ekipl_shared",
        )  # fmt: skip
    clock = StepClock(place.device)
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return clock.seconds
