"""transformers' sampling for batches whose rows share prompts, without work that changes nothing.

    with shared_rollout(model, num_images):
        model.generate(**inputs, generation_config=config)

Each distinct prompt is read once (`shared_prompts`), and rows that have ended leave the batch.
Logits processors, stopping criteria and the draws from torch's generator are those of
``generate``: the same tokens, as long as no draw lies within the rounding of a sum.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ekipl_lab.policies.generation import prompt_positions, rope_offset, shaped
from ekipl_lab.policies.shared_prompts import PromptRows, expanded

#: Rows that have ended leave once they are at least this share of those that run.
ENDED = 0.1


@contextmanager
def shared_rollout(model: Any, num_images: Sequence[int] | None) -> Iterator[None]:
    """Within the block, ``model.generate`` samples as said above; ``num_images`` of each row."""
    plain = model.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        if kwargs["generation_config"].num_beams not in (None, 1):
            return plain(*args, **kwargs)
        # transformers would compute the image features of every row before it samples
        visual = {name: kwargs.pop(name) for name in PromptRows.NAMES & kwargs.keys()}
        sample = functools.partial(sample_shared, visual=visual, num_images=num_images)
        return plain(*args, custom_generate=sample, **kwargs)

    model.generate = generate
    try:
        yield
    finally:
        del model.generate


@torch.no_grad()
def sample_shared(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    *,
    visual: dict[str, Tensor],
    num_images: Sequence[int] | None,
    **kwargs: Any,
) -> Tensor:
    """``input_ids`` (B, P) and what was sampled after them, (B, P + T); padded after the end."""
    mask: Tensor | None = kwargs.get("attention_mask")
    mask = torch.ones_like(input_ids) if mask is None else mask  # None: no row is padded
    prompts = PromptRows(input_ids, mask, num_images, visual)
    rows = list(range(len(input_ids)))
    distinct, places = prompts.places(rows)
    inputs = prompts.inputs(distinct)
    output = model(**inputs, **prompt_positions(model, inputs), use_cache=True, logits_to_keep=1)
    place = torch.tensor(places, device=input_ids.device)
    cache, logits = expanded(output.past_key_values, place), output.logits[place, -1]
    offset = rope_offset(model, inputs["attention_mask"], 1)[place]

    pad = generation_config._pad_token_tensor
    active = torch.arange(len(input_ids), device=input_ids.device)
    running = torch.ones_like(active, dtype=torch.bool)
    while True:
        scores = logits_processor(input_ids[active], logits.float())
        token = torch.full_like(running, pad, dtype=input_ids.dtype)
        token[active] = _draw(scores, active, len(running), sample=generation_config.do_sample)
        token = token.where(running, pad)
        input_ids = torch.cat([input_ids, token[:, None]], -1)
        running = running & ~stopping_criteria(input_ids, None)
        if not running.any():
            return input_ids
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], -1)
        keep = running[active]
        if (~keep).sum() >= ENDED * len(keep):
            chosen = keep.nonzero()[:, 0]
            active, cache = active[chosen], expanded(cache, chosen)
        own = mask[active]
        position = own.sum(-1, keepdim=True) - 1 + offset[active]
        output = model(
            input_ids=token[active][:, None], attention_mask=own,
            position_ids=shaped(position, model), past_key_values=cache, use_cache=True,
        )  # fmt: skip
        cache, logits = output.past_key_values, output.logits[:, -1]


def _draw(scores: Tensor, active: Tensor, rows: int, *, sample: bool) -> Tensor:
    """One token for each active row; random numbers are drawn for all rows, as before."""
    if not sample:
        return scores.argmax(-1)
    probs = scores.softmax(-1)
    if not bool(probs.isfinite().all()):
        return torch.multinomial(probs, 1)[:, 0]  # which says what is wrong
    noise = torch.empty(rows, probs.shape[1], device=probs.device).exponential_(1)
    return (probs / noise[active]).argmax(-1)
