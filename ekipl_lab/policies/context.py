"""Whether the policy can take a prompt, and its context holds it. Nothing is cut to make it fit.

A prompt cut through an image would leave placeholders without their features, or features without
placeholders; one that runs over the context is beyond the positions the model was trained on. Such
a sample is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ekipl_lab.benchmarks.image_files import sizes_of
from ekipl_lab.errors import DataError
from ekipl_lab.images import IMAGE_MARK
from ekipl_lab.parsing import TAGS
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
    """Raise DataError for the first sample that the processor cannot take, or whose prompt and
    ``new_tokens`` exceed ``context``.

    Images of one size take equally many tokens, and a text has no more tokens than bytes: one
    prompt of each combination of sizes is encoded, and whichever could be too long by that bound.
    Sizes of image files come from their heads, so that not every picture is read.
    """
    by_size: dict[tuple[tuple[int, int], ...], int] = {}
    reserved = special_tokens(policy)
    for sample in samples:
        check_words(sample, reserved)
        sizes = sizes_of(sample)
        if sizes not in by_size:
            by_size[sizes] = encoded_length(policy, sample)
        longest = by_size[sizes] + len(prompt_text(sample).encode()) + new_tokens
        if context is not None and longest > context:
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
    """Tokens of the whole prompt, images included; DataError if the processor cannot take it."""
    images = [list(sample.images)] if sample.images else None
    text = finished_prompt(policy, sample)
    try:
        encoded = policy.processor(text=[text], images=images, return_tensors="pt")
    except (ValueError, ZeroDivisionError) as error:
        sizes = ", ".join(f"{image.width} x {image.height}" for image in sample.images)
        raise DataError(
            f"The policy's processor cannot take sample {sample.id!r}, images of {sizes} pixels "
            f"({error}); pad or crop them, or leave the sample out."
        ) from error
    return int(encoded["input_ids"].shape[-1])


def finished_prompt(policy: Policy, sample: Sample) -> str:
    """The text that the policy reads, before each image is as many tokens as it takes."""
    messages = build_messages(sample)
    return str(policy.processor.apply_chat_template(messages, add_generation_prompt=True))


def special_tokens(policy: Policy) -> frozenset[str]:
    """What the policy's tokenizer reads as one of its signs, wherever it stands in a text."""
    tokenizer = policy.processor.tokenizer
    added = tokenizer.added_tokens_decoder.values()
    return frozenset({*tokenizer.all_special_tokens, *(str(t) for t in added if t.special)})


def check_words(sample: Sample, reserved: frozenset[str]) -> None:
    """Raise DataError if a text of the sample holds a special token, ``<image>`` marks aside.

    An answer that holds one can be given by no policy: it is not among the text of its completion.
    """
    texts = {
        "question": sample.question.replace(IMAGE_MARK, ""),
        "choices": "\n".join(sample.choices),
        "answer": sample.answer,
        "chain of thought": re.sub("|".join(TAGS), "", sample.cot or ""),
    }
    for part, text in texts.items():
        found = min((token for token in reserved if token in text), default=None)
        if found is not None:
            raise DataError(
                f"The {part} of sample {sample.id!r} holds {found!r}, which the policy's "
                "tokenizer reads as a sign of its own; write it otherwise, or leave the sample out."
            )
