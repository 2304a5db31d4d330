"""Whether prompt and completion fit the policy's context. Nothing is ever cut to make them fit.

A prompt cut through an image would leave placeholders without their features, or features without
placeholders; one that runs over the context is beyond the positions the model was trained on. Such
a sample is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ekipl_lab.errors import DataError
from ekipl_lab.policies.load import Policy
from ekipl_lab.prompts import build_messages, prompt_text
from ekipl_lab.types import Sample


def context_length(model: Any) -> int | None:
    """Positions of the language model; None if its config does not say."""
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return length if isinstance(length, int) else None


def check_prompts_fit(
    policy: Policy, samples: Sequence[Sample], new_tokens: int, context: int | None
) -> None:
    """Raise DataError for the first sample whose prompt and ``new_tokens`` exceed ``context``.

    Images of one size take equally many tokens, and a text has no more tokens than bytes: one
    prompt of each combination of sizes is encoded, and whichever could be too long by that bound.
    """
    if context is None:
        return
    by_size: dict[tuple[tuple[int, int], ...], int] = {}
    for sample in samples:
        sizes = tuple(image.size for image in sample.images)
        if sizes not in by_size:
            by_size[sizes] = encoded_length(policy, sample)
        if by_size[sizes] + len(prompt_text(sample).encode()) + new_tokens > context:
            check_fits(sample, encoded_length(policy, sample), new_tokens, context)


def check_fits(sample: Sample, length: int, new_tokens: int, context: int | None) -> None:
    """Raise DataError if a prompt of ``length`` tokens, images included, leaves no such room."""
    if context is not None and length + new_tokens > context:
        raise DataError(
            f"The prompt of sample {sample.id!r} has {length} tokens with its {len(sample.images)} "
            f"image(s); {new_tokens} more for the completion exceed the policy's context of "
            f"{context}. Prompts are never cut: take smaller images (data.image_size), a smaller "
            "max_completion_length, or leave the sample out."
        )


def encoded_length(policy: Policy, sample: Sample) -> int:
    """Tokens of the whole prompt, images included."""
    text = policy.processor.apply_chat_template(build_messages(sample), add_generation_prompt=True)
    images = [list(sample.images)] if sample.images else None
    encoded = policy.processor(text=[text], images=images, return_tensors="pt")
    return int(encoded["input_ids"].shape[-1])
