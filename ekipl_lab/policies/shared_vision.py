"""Equal images of a batch go through the vision tower once, wherever the model is called from.

    with shared_vision(model):
        model(**inputs)

Within the block transformers' `get_image_features` computes each distinct image, and its features
are repeated for the rows that show it; autograd sums what they send back. As many passes are made
as without, each over fewer images, so that it holds with adapters, activation checkpointing, DDP,
FSDP and ZeRO-3 as well. Images are equal if their pixels are, to the bit.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

#: Model types for which it is known (tests/training/test_shared_work.py). Others compute every row.
FAMILIES = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava", "idefics3", "gemma3"})
#: What `get_image_features` is given beside the pixels, image by image.
BESIDE = ("image_grid_thw", "pixel_attention_mask", "image_sizes")


def can_share_vision(model: Any) -> bool:
    """Whether equal images of ``model`` may be seen once: a known family whose vision tower has no
    dropout (each row would draw its own)."""
    if getattr(model.config, "model_type", None) not in FAMILIES:
        return False
    vision = getattr(model.config, "vision_config", None)
    rate = getattr(vision, "attention_dropout", None) or 0.0
    language = {id(module) for module in model.get_decoder().modules()}
    seen = (module for module in model.modules() if id(module) not in language)
    return not rate and not any(isinstance(m, nn.Dropout) and m.p > 0 for m in seen)


@contextmanager
def shared_vision(model: Any) -> Iterator[None]:
    """Within the block, ``model`` (with its own forward, no wrapper) sees equal images once."""
    base = model.base_model
    plain = base.get_image_features
    names = list(inspect.signature(plain).parameters)[1:]

    @functools.wraps(plain)  # `generate` looks at its parameters
    def get_image_features(pixel_values: Tensor, *given: Any, **named: Any) -> Any:
        named |= dict(zip(names, given, strict=False))
        tensors = {name for name, value in named.items() if isinstance(value, Tensor)}
        if not tensors <= set(BESIDE):
            return plain(pixel_values, **named)
        beside = {name: named[name] for name in BESIDE if name in tensors}
        firsts, places = distinct_images(pixel_values, beside)
        chosen = [_images(pixel_values, beside)[image] for image in firsts]
        cut = {name: value[firsts] for name, value in beside.items()}
        output = plain(torch.cat(chosen), **named | cut)
        output.pooler_output = _repeated(output.pooler_output, places)
        if deep := getattr(output, "deepstack_features", None):
            output.deepstack_features = [_repeated(layer, places) for layer in deep]
        return output

    base.get_image_features = get_image_features
    try:
        yield
    finally:
        del base.get_image_features


def distinct_images(pixels: Tensor, beside: dict[str, Tensor]) -> tuple[list[int], list[int]]:
    """The first image of each kind, and for every image its place among those."""
    rows = [beside[name].split(1) for name in beside]
    kinds = list(zip(_images(pixels, beside), *rows, strict=True))
    firsts: list[int] = []
    places: list[int] = []
    for image, own in enumerate(kinds):
        same = (
            place
            for place in reversed(range(len(firsts)))  # equal rows stand together
            if all(map(torch.equal, own, kinds[firsts[place]]))
        )
        place = next(same, len(firsts))
        if place == len(firsts):
            firsts.append(image)
        places.append(place)
    return firsts, places


def _images(pixels: Tensor, beside: dict[str, Tensor]) -> Sequence[Tensor]:
    """The pixels of each image (with Idefics3: of each row)."""
    grid = beside.get("image_grid_thw")
    parts: Sequence[Tensor] = pixels.split(1 if grid is None else grid.prod(-1).tolist())
    return parts


def _repeated(features: Any, places: list[int]) -> Any:
    """The features of each image, out of those of each kind, in a container of the same type."""
    if isinstance(features, Tensor):
        return features[places]
    return type(features)(features[place] for place in places)
