"""How large the prompts of a run are: some of its samples, through the policy's processor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ekipl_lab.benchmarks.image_files import sizes_of
from ekipl_lab.policies.context import encoded_length, finished_prompt
from ekipl_lab.policies.load import as_policy
from ekipl_lab.prompts import prompt_text
from ekipl_lab.training.memory.shape import ModelShape
from ekipl_lab.types import Sample

#: Samples that are looked at: the widest pictures, the longest texts, and some in between.
EXTREMES, SPREAD = 8, 32
#: Bytes of a token, at least, where no tokenizer is at hand: too many tokens rather than too few.
TOKEN_BYTES = 3


@dataclass(frozen=True, slots=True)
class PromptSizes:
    """The largest prompt of those looked at, part by part, and the mean length of all.

    ``image_tokens`` are those of one image; ``by_processor`` is False where the tokens of a text
    are counted from its bytes, and those of an image from its size.
    """

    text_tokens: int
    images: int
    image_tokens: int
    mean: float
    looked_at: int
    by_processor: bool

    def line(self) -> str:
        """The sizes as a line of the plan."""
        how = "by the processor" if self.by_processor else "counted from bytes and pixels"
        return (
            f"prompt tokens           at most {self.text_tokens} of text and {self.images} x "
            f"{self.image_tokens} of images, {self.mean:.0f} on the mean "
            f"({self.looked_at} samples, {how})"
        )


def prompt_sizes(samples: Sequence[Sample], shape: ModelShape, processor: Any) -> PromptSizes:
    """The sizes of the prompts of ``samples``; ``processor`` None: none is at hand."""
    chosen = looked_at(samples)
    found = [_sizes(sample, shape, processor) for sample in chosen]
    lengths = [text + images * each for text, images, each in found]
    return PromptSizes(
        text_tokens=max(text for text, _, _ in found),
        images=max(images for _, images, _ in found),
        image_tokens=max(each for _, _, each in found),
        mean=sum(lengths) / len(lengths),
        looked_at=len(chosen),
        by_processor=processor is not None,
    )


def looked_at(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with the widest pictures and the longest texts, and some spread over all."""
    pixels = [sum(w * h for w, h in sizes_of(sample)) for sample in samples]
    words = [len(prompt_text(sample)) for sample in samples]
    places = range(len(samples))
    widest = sorted(places, key=lambda at: -pixels[at])[:EXTREMES]
    longest = sorted(places, key=lambda at: -words[at])[:EXTREMES]
    spread = places[:: max(1, len(samples) // SPREAD)][:SPREAD]
    return [samples[at] for at in sorted({*widest, *longest, *spread})]


def _sizes(sample: Sample, shape: ModelShape, processor: Any) -> tuple[int, int, int]:
    """Tokens of the text, number of images, tokens of each image at most."""
    images = sizes_of(sample)
    if processor is None:
        each = max((_tokens(size, shape) for size in images), default=0)
        return math.ceil(len(prompt_text(sample).encode()) / TOKEN_BYTES), len(images), each
    policy = as_policy(None, processor)
    text = len(processor.tokenizer(finished_prompt(policy, sample))["input_ids"]) - len(images)
    of_images = encoded_length(policy, sample) - text
    return text, len(images), math.ceil(of_images / len(images)) if images else 0


def _tokens(size: tuple[int, int], shape: ModelShape) -> int:
    """Image tokens of a picture of so many pixels."""
    if shape.tokens_per_image is not None:
        return shape.tokens_per_image
    cell = shape.patch * shape.merge
    return math.prod(max(1, round(side / cell)) for side in size)
