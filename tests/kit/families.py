"""Tiny random builds of vision-language families, each with a processor made without a download.

Every build is a few tens of thousands of parameters, the project's own tokenizer plus the family's
special tokens, and the family's own image processor (the one on PIL).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.processor import ImageOnlyQwen2VLProcessor
from ekipl_lab.policies.tokenizer import CHAT_TEMPLATE, EOS, PAD, build_tokenizer

HALF = [0.5, 0.5, 0.5]
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


def tokenizer(image: str, extra: tuple[str, ...] = (), **named: str) -> Any:
    """The project's tokenizer with more special tokens; ``image`` is what stands for one."""
    base = build_tokenizer()
    backend = base.backend_tokenizer
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens=[*base.all_special_tokens, *extra, *named.values()],
        padding_side="left",
        chat_template=CHAT_TEMPLATE.replace(QWEN_IMAGE, image),
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        model_specific_special_tokens=named,
    )


def text(vocabulary: int, **more: Any) -> dict[str, Any]:
    """Two layers of 32 wide for any of the language models."""
    return {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        "max_position_embeddings": 1024, "initializer_range": 0.05, "tie_word_embeddings": True,
        "bos_token_id": None,
    } | more  # fmt: skip


def mrope(section: list[int], **more: Any) -> dict[str, Any]:
    """Qwen's rotary positions over time, height and width."""
    return {
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e4, "mrope_section": section, **more
        }
    }  # fmt: skip


def common(tokens: Any) -> dict[str, Any]:
    """Ids that every configuration wants."""
    ids = {"eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id}
    return ids | {"bos_token_id": None, "tie_word_embeddings": True}


def qwen_ids(tokens: Any) -> dict[str, int]:
    """Qwen's placeholder ids."""
    convert = tokens.convert_tokens_to_ids
    return {
        "image_token_id": convert("<|image_pad|>"),
        "video_token_id": convert("<|video_pad|>"),
        "vision_start_token_id": convert("<|vision_start|>"),
        "vision_end_token_id": convert("<|vision_end|>"),
    }


def qwen_processor(patch: int) -> Any:
    """2 x 2 patches make one token, as in the published models; images keep their own sizes.

    The published processors differ from this one only in their video half, which needs torchvision.
    """
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": (4 * patch) ** 2, "longest_edge": (6 * patch) ** 2},
        patch_size=patch, temporal_patch_size=2, merge_size=2, image_mean=HALF, image_std=HALF,
    )  # fmt: skip
    return ImageOnlyQwen2VLProcessor(images, build_tokenizer())


def qwen2_vl() -> tuple[Any, Any]:
    """The project's own policy."""
    return build_tiny_policy("nano", 0)


def qwen2_5_vl() -> tuple[Any, Any]:
    """Window attention in the vision tower; processor: the image-only one of Qwen2-VL."""
    processor = qwen_processor(14)
    tokens = processor.tokenizer
    config = Qwen2_5_VLConfig(
        text_config=text(len(tokens), **mrope([2, 3, 3])),
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
        },
        **qwen_ids(tokens), **common(tokens),
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[Any, Any]:
    """Deepstack features of the vision tower; processor: the image-only one, patches of 16."""
    processor = qwen_processor(16)
    tokens = processor.tokenizer
    config = Qwen3VLConfig(
        text_config=text(len(tokens), **mrope([2, 3, 3], mrope_interleaved=True)),
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 16, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **qwen_ids(tokens), **common(tokens),
    )  # fmt: skip
    return Qwen3VLForConditionalGeneration(config), processor


def llava() -> tuple[Any, Any]:
    """CLIP tower, one row of pixels per image; the stock processor."""
    tokens = tokenizer("<image>", ("<image>",))
    images = LlavaImageProcessorPil(
        size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}
    )
    processor = LlavaProcessor(
        images, tokens, patch_size=14, vision_feature_select_strategy="default",
        chat_template=tokens.chat_template, num_additional_image_tokens=1,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14,
            "projection_dim": 32,
        },
        text_config={"model_type": "llama", **text(len(tokens), **common(tokens))},
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        **common(tokens),
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor


def idefics3() -> tuple[Any, Any]:
    """SigLIP tower; images are cut into tiles, and rows are padded to the most tiles."""
    rows = tuple(f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7))
    marks = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
    tokens = tokenizer("<image>", (*marks, *rows))
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 112}, max_image_size={"longest_edge": 56}
    )
    processor = Idefics3Processor(
        images, tokens, image_seq_len=4, chat_template=tokens.chat_template
    )
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 56, "patch_size": 14,
        },
        text_config={"model_type": "llama", **text(len(tokens), **common(tokens))},
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        **common(tokens),
    )  # fmt: skip
    return Idefics3ForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    """SigLIP tower, 4 tokens per image, attention both ways within an image."""
    marks = {
        "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }  # fmt: skip
    tokens = tokenizer("<start_of_image>", **marks)
    images = Gemma3ImageProcessorPil(size={"height": 56, "width": 56})
    processor = Gemma3Processor(
        images, tokens, chat_template=tokens.chat_template, image_seq_length=4
    )
    config = Gemma3Config(
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 56, "patch_size": 14,
        },
        text_config=text(len(tokens), sliding_window=64, **common(tokens)),
        mm_tokens_per_image=4,
        boi_token_index=tokens.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokens.convert_tokens_to_ids("<end_of_image>"),
        image_token_id=tokens.convert_tokens_to_ids("<image_soft_token>"),
        **common(tokens),
    )  # fmt: skip
    model = Gemma3ForConditionalGeneration(config)
    projection = model.model.multi_modal_projector.mm_input_projection_weight
    torch.nn.init.normal_(projection, std=0.05)  # zeros at birth: the model would be blind
    return model, processor


FAMILIES = {
    build.__name__: build for build in (qwen2_vl, qwen2_5_vl, qwen3_vl, llava, idefics3, gemma3)
}


def build(name: str) -> tuple[Any, Any]:
    """A tiny random model of a family in evaluation mode, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = FAMILIES[name]()
    return model.eval(), processor
