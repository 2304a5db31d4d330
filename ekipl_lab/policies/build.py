"""Building the tiny policy: a Qwen2-VL with fresh weights and its processor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.policies.processor import ImageOnlyQwen2VLProcessor, build_processor
from ekipl_lab.policies.tokenizer import VISION_END, VISION_START


@dataclass(frozen=True, slots=True)
class PolicySize:
    """Widths and depths of language model and vision tower; the heads divide the widths."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    vision_width: int
    vision_depth: int
    vision_heads: int


#: nano is for unit tests, demo for reinforcement on a CPU, teacher the stronger local teacher.
SIZES: dict[str, PolicySize] = {
    "nano": PolicySize(32, 2, 2, 1, 64, 32, 1, 2),
    "demo": PolicySize(128, 3, 4, 2, 384, 96, 2, 4),
    "deep": PolicySize(128, 5, 4, 2, 384, 96, 2, 4),
    "teacher": PolicySize(192, 6, 6, 3, 576, 128, 3, 4),
}

#: Smaller values leave Muon and AdamW stuck at chance for long.
INITIALIZER_RANGE = 0.05


def build_tiny_policy(
    size: str,
    seed: int,
    *,
    image_size: int = 56,
    patch_size: int = 14,
    own: Sequence[str] | None = None,
) -> tuple[Qwen2VLForConditionalGeneration, ImageOnlyQwen2VLProcessor]:
    """A fresh float32 model in evaluation mode and its processor.

    Every image is resized to ``image_size`` pixels square, or to as many pixels where its sides
    differ. ``own``: the pieces of `build_tokenizer`. The weights depend on the arguments
    alone; the caller's random state stays as it is. Raises ConfigError for an unknown size or an
    image size that the patch size does not divide.
    """
    if size not in SIZES:
        raise unknown_name("policy size", size, SIZES)
    if image_size % patch_size:
        raise ConfigError(
            f"image_size {image_size} is not a multiple of patch_size {patch_size}; choose one."
        )
    processor = build_processor(image_size, patch_size, own)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2VLForConditionalGeneration(_model_config(SIZES[size], processor, patch_size))
    return model.eval(), processor


def _model_config(size: PolicySize, processor: Any, patch_size: int) -> Qwen2VLConfig:
    tokenizer = processor.tokenizer
    half = size.hidden // size.heads // 2
    spatial = 3 * half // 8
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": size.hidden,
        "intermediate_size": size.mlp,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "max_position_embeddings": 1024,
        "initializer_range": INITIALIZER_RANGE,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [half - 2 * spatial, spatial, spatial],
        },
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    vision: dict[str, Any] = {
        "depth": size.vision_depth,
        "embed_dim": size.vision_width,
        "num_heads": size.vision_heads,
        "mlp_ratio": 2,
        "hidden_size": size.hidden,
        "patch_size": patch_size,
        "spatial_merge_size": 1,
        "temporal_patch_size": 1,
        "initializer_range": INITIALIZER_RANGE,
    }
    return Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        vision_start_token_id=tokenizer.convert_tokens_to_ids(VISION_START),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(VISION_END),
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
