"""A Qwen2-VL processor for images only, which needs no torchvision.

The stock ``Qwen2VLProcessor`` wants a video processor, hence torchvision. Without one
``AutoProcessor`` returns a bare tokenizer in silence and the model runs blind. This class is
registered under a configuration of its own, so that real Qwen checkpoints keep the stock class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoProcessor, Qwen2VLConfig, Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ekipl_lab.policies.tokenizer import IMAGE, VIDEO, build_tokenizer


class ImageOnlyQwen2VLProcessor(Qwen2VLProcessor):
    """Qwen2-VL's processor without its video half; saves, loads and pads like the stock one."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: Any = None) -> None:
        self.image_token, self.video_token = IMAGE, VIDEO
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE)
        self.video_token_id = tokenizer.convert_tokens_to_ids(VIDEO)
        template = chat_template or tokenizer.chat_template
        super(Qwen2VLProcessor, self).__init__(image_processor, tokenizer, chat_template=template)


class _ImageOnlyConfig(Qwen2VLConfig):
    """Only a key for the registration below; no checkpoint has this configuration."""


AutoProcessor.register(_ImageOnlyConfig, ImageOnlyQwen2VLProcessor, exist_ok=True)


def build_processor(
    image_size: int, patch_size: int, own: Sequence[str] | None = None
) -> ImageOnlyQwen2VLProcessor:
    """The tiny policy's processor: any image becomes (image_size / patch_size)^2 image tokens (or a
    few less, where it is not square). ``own``: the pieces of `build_tokenizer`."""
    pixels = image_size * image_size
    image_processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": pixels, "longest_edge": pixels},
        patch_size=patch_size,
        temporal_patch_size=1,
        merge_size=1,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return ImageOnlyQwen2VLProcessor(image_processor, build_tokenizer(own))
