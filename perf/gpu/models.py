"""Checkpoints of published shapes with random weights, made on the device; nothing is downloaded.

The vocabulary's size is the published one too; the tokenizer is the project's own, whose special
tokens the configuration names. ``tiny`` shrinks depth and width and keeps everything else.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ekipl_lab.policies.load import DTYPES
from ekipl_lab.policies.processor import ImageOnlyQwen2VLProcessor
from ekipl_lab.policies.save import save_policy
from ekipl_lab.policies.tokenizer import build_tokenizer
from ekipl_lab.training.memory.known_models import KNOWN

TWO_B, THREE_B = "Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct"
#: A language model of two layers, and what its vision tower has of these.
SMALL = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 4096,
}  # fmt: skip
SMALL_VISION = {
    "depth": 2, "num_heads": 2, "embed_dim": 64, "intermediate_size": 128,
    "fullatt_block_indexes": [1],
}  # fmt: skip


def architecture(name: str, *, tiny: bool) -> dict[str, Any]:
    """Keyword arguments of ``AutoConfig.for_model`` of a known model, shrunk if ``tiny``."""
    known = copy.deepcopy(KNOWN[name])
    if not tiny:
        return known
    text, vision = known["text_config"], known["vision_config"]
    text |= SMALL | {"rope_parameters": text["rope_parameters"] | {"mrope_section": [8, 12, 12]}}
    vision |= {key: value for key, value in SMALL_VISION.items() if key in vision}
    if "out_hidden_size" in vision:  # Qwen2.5-VL: its hidden_size is the tower's own
        vision |= {"hidden_size": 64, "out_hidden_size": 256}
    else:
        vision["hidden_size"] = 256
    return known


def ids(tokens: Any) -> dict[str, Any]:
    """The special tokens that a configuration names."""
    convert = tokens.convert_tokens_to_ids
    named = {
        "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
    }  # fmt: skip
    ends = {"eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id}
    return {name: convert(token) for name, token in named.items()} | ends | {"bos_token_id": None}


def random_model(name: str, device: str, dtype: str, *, tiny: bool) -> tuple[Any, Any]:
    """The model on the device, and a processor that keeps an image's own size (in 28 pixels)."""
    tokens = build_tokenizer()
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 1792 * 1792},
        patch_size=14, temporal_patch_size=2, merge_size=2,
    )  # fmt: skip
    made = architecture(name, tiny=tiny)
    made["text_config"] |= {"eos_token_id": tokens.eos_token_id, "bos_token_id": None}
    config = AutoConfig.for_model(**made, **ids(tokens))
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=DTYPES[dtype])
    return model.eval(), ImageOnlyQwen2VLProcessor(images, tokens)


def checkpoint(name: str, folder: Path, device: str, dtype: str, *, tiny: bool) -> Path:
    """The same as a folder, which a run's ``policy.path`` can name."""
    model, processor = random_model(name, device, dtype, tiny=tiny)
    save_policy(model, processor, folder, dtype=dtype)
    del model
    if device == "cuda":
        torch.cuda.empty_cache()
    return folder
