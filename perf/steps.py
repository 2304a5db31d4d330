"""Steps with and without `training.share_work`, side by side in one process.

    python -m perf.steps [--only demo qwen2_vl-256] [--steps 16] [--out results/step_speed.json]

``demo`` is configs/demo_grpo.yaml from its shipped policy, 64 completions a step. The others are
Qwen2-VL and Qwen2.5-VL at width 32 with random weights and pictures of 256 or 1,024 image tokens,
one group of 8 completions of 64 tokens, in which every action has an advantage; ``lora``: an
adapter of rank 8; ``recomputed``: with activation checkpointing, where the loss shares images
alone. Both trainers begin
from the same weights with the same random state of their own and take turns, step about; ratios are
of CPU seconds (one thread) of neighbouring steps, median and quartiles; the first step warms up.
The table goes into docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    PrinterCallback,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl import GRPOConfig

from ekipl_lab.files import put_between, write_text
from ekipl_lab.policies import as_policy, load_policy, suppressed_token_ids
from ekipl_lab.policies.adapters import lora_config
from ekipl_lab.policies.processor import ImageOnlyQwen2VLProcessor
from ekipl_lab.policies.tokenizer import build_tokenizer
from ekipl_lab.rewards import get_scorer
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.trainer import EKIPLTrainer
from ekipl_lab.types import Sample
from perf.trainer.__main__ import Baton, Clock, reward

ROOT = Path(__file__).resolve().parent.parent
DOC, OUT = ROOT / "docs" / "training.md", ROOT / "results" / "step_speed.json"
BEGIN, END = "<!-- step speed: generated, do not edit -->", "<!-- step speed: end -->"


class OwnRandom(Clock):
    """A clock whose trainer has a random state of its own, though both run in one process."""

    state: torch.Tensor | None = None

    def on_step_begin(self, *given: Any, **named: Any) -> None:
        """The turn begins with the state that the last one left."""
        self.baton.wait_for(self.mine)
        torch.set_rng_state(torch.manual_seed(0).get_state() if self.state is None else self.state)
        super().on_step_begin(*given, **named)

    def on_step_end(self, *given: Any, **named: Any) -> None:
        """Keep the state before the turn goes on."""
        self.state = torch.get_rng_state()
        super().on_step_end(*given, **named)


def arguments(folder: str, steps: int, **changes: Any) -> GRPOConfig:
    """TRL's arguments of a measured run."""
    return GRPOConfig(
        output_dir=folder, max_steps=steps, loss_type="grpo", use_cpu=True, bf16=False, seed=0,
        beta=0.0, report_to="none", save_strategy="no",
        disable_tqdm=True, logging_steps=1, lr_scheduler_type="constant",
        **{"activation_checkpointing": False} | changes,
    )  # fmt: skip


def demo(folder: str, steps: int, share: bool) -> EKIPLTrainer:
    """The demo's GRPO arm."""
    config = load_config(ROOT / "configs" / "demo_grpo.yaml", ["data.limit=400"])
    policy = load_policy(ROOT / str(config.policy.path))
    wanted = ("num_generations", "per_device_train_batch_size", "max_completion_length",
              "learning_rate", "temperature")  # fmt: skip
    settings = {name: config.grpo_settings[name] for name in wanted}
    return EKIPLTrainer(
        policy.model, args=arguments(folder, steps, **settings),
        samples=load_training_samples(config), processing_class=policy.processor,
        scorer=get_scorer(config.reward.scorer), options=config.ekipl, share_work=share,
    )  # fmt: skip


def real(
    family: str, tokens: int, *, lora: bool = False, recomputed: bool = False
) -> Callable[[str, int, bool], EKIPLTrainer]:
    """A published architecture at width 32; each picture becomes ``tokens`` tokens."""
    side = 28 * int(tokens**0.5)

    def build(folder: str, steps: int, share: bool) -> EKIPLTrainer:
        model, processor = real_policy(family, side)
        policy = as_policy(model, processor)
        eos = processor.tokenizer.eos_token_id
        args = arguments(
            folder, steps, num_generations=8, per_device_train_batch_size=8, learning_rate=1e-4,
            max_completion_length=64,
            activation_checkpointing=recomputed,
            generation_kwargs={"suppress_tokens": [*suppressed_token_ids(policy), eos]},
        )  # fmt: skip
        return EKIPLTrainer(
            model, args=args, samples=pictures(side), processing_class=processor, scorer=reward,
            share_work=share, peft_config=lora_config(model, rank=8) if lora else None,
        )  # fmt: skip

    return build


def pictures(side: int) -> list[Sample]:
    """One noisy picture and question a step."""
    noise = torch.Generator().manual_seed(0)
    return [
        Sample(
            id=f"bench/{i}", task="bench", split="train", answer="2", answer_type="number",
            images=(Image.fromarray(
                torch.randint(0, 256, (side, side, 3), generator=noise, dtype=torch.uint8).numpy()
            ),),
            question=f"How many red cubes are left of blue sphere {i}?",
        )
        for i in range(16)
    ]  # fmt: skip


def real_policy(family: str, side: int) -> tuple[Any, Any]:
    """Two layers of width 32 in language model and vision tower, the project's tokenizer."""
    tokens = build_tokenizer()
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": side * side, "longest_edge": side * side},
        patch_size=14, temporal_patch_size=2, merge_size=2,
    )  # fmt: skip
    text = {
        "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 4096, "tie_word_embeddings": True, "bos_token_id": None,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]
        },
    }  # fmt: skip
    ids = tokens.convert_tokens_to_ids
    common = {
        "image_token_id": ids("<|image_pad|>"), "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"), "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.pad_token_id, "bos_token_id": None, "tie_word_embeddings": True,
    }  # fmt: skip
    torch.manual_seed(0)
    if family == "qwen2_vl":
        vision: dict[str, Any] = {
            "depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 4, "hidden_size": 32,
        }  # fmt: skip
        config: Any = Qwen2VLConfig(text_config=text, vision_config=vision, **common)
        model: Any = Qwen2VLForConditionalGeneration(config)
    else:
        vision = {
            "depth": 2, "hidden_size": 32, "intermediate_size": 128, "num_heads": 2,
            "out_hidden_size": 32, "fullatt_block_indexes": [1],
        }  # fmt: skip
        config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **common)
        model = Qwen2_5_VLForConditionalGeneration(config)
    return model, ImageOnlyQwen2VLProcessor(images, tokens)


SHAPES: dict[str, Callable[[str, int, bool], EKIPLTrainer]] = {
    "demo": demo,
    "qwen2_vl-256": real("qwen2_vl", 256),
    "qwen2_vl-1024": real("qwen2_vl", 1024),
    "qwen2_5_vl-256": real("qwen2_5_vl", 256),
    "qwen2_5_vl-1024": real("qwen2_5_vl", 1024),
    "qwen2_5_vl-256-lora": real("qwen2_5_vl", 256, lora=True),
    "qwen2_5_vl-1024-lora": real("qwen2_5_vl", 1024, lora=True),
    "qwen2_5_vl-256-lora-recomputed": real("qwen2_5_vl", 256, lora=True, recomputed=True),
    "qwen2_5_vl-1024-lora-recomputed": real("qwen2_5_vl", 1024, lora=True, recomputed=True),
}


def measure(name: str, steps: int) -> dict[str, Any]:
    """One shape, without and with shared work, step about."""
    baton, failures = Baton(2), []
    with tempfile.TemporaryDirectory() as folder:
        runs = [(SHAPES[name](folder, steps, share), OwnRandom(baton, int(share)))
                for share in (False, True)]  # fmt: skip

        def work(index: int) -> None:
            trainer, clock = runs[index]
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(clock)
            baton.wait_for(index)
            try:
                trainer.train()
            except BaseException as error:
                failures.append(error)
            finally:
                baton.pass_on(index, ended=True)

        threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    (plain, before), (shared, after) = runs
    pairs = list(zip(before.cpu[1:], after.cpu[1:], strict=True))
    quartiles = statistics.quantiles([a / b for a, b in pairs], n=4)
    tokens = [run.state.num_input_tokens_seen for run in (plain, shared)]
    return {
        "steps": len(pairs),
        "cpu_seconds_plain": round(statistics.median(a for a, _ in pairs), 4),
        "cpu_seconds_shared": round(statistics.median(b for _, b in pairs), 4),
        "ratio_median": round(quartiles[1], 3),
        "ratio_quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
        "tokens_seen_plain_shared": tokens,
    }


def table(known: dict[str, Any]) -> str:
    """Markdown: every shape that was measured."""
    lines = ["| shape | pairs of steps | CPU s, plain | CPU s, shared | steps per second | saved |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name in (shape for shape in SHAPES if shape in known):
        row = known[name]
        low, high = row["ratio_quartiles"]
        lines.append(
            f"| {name} | {row['steps']} | {row['cpu_seconds_plain']:.2f} "
            f"| {row['cpu_seconds_shared']:.2f} "
            f"| x {row['ratio_median']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {1 - 1 / row['ratio_median']:.0%} of a step |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, keep what is not measured again, write record and table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {}
    for name in args.only:
        known[name] = measure(name, args.steps)
        print(name, json.dumps(known[name]), flush=True)
        write_text(args.out, json.dumps(known, indent=1) + "\n")
    write_text(DOC, put_between(DOC.read_text(encoding="utf-8"), BEGIN, END, table(known)))


if __name__ == "__main__":
    main()
