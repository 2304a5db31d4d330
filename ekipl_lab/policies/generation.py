"""Batched sampling with a key-value cache: each prompt is read once, then expanded to its draws.

Random numbers come from one table per prompt, made from (seed, sample id): what a prompt yields
depends neither on its neighbours in the batch nor on any global random state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ekipl_lab.types import GenerationParams


@dataclass(frozen=True, slots=True)
class Draws:
    """P prompts x N draws x T steps: ``tokens`` (P*N, T), ``logprobs`` (P*N, T), ``lengths``.

    Rows of one prompt are neighbours. ``lengths`` counts tokens including the end-of-sequence
    token; ``stopped`` says whether there was one.
    """

    tokens: Tensor
    logprobs: Tensor
    lengths: Tensor
    stopped: Tensor


#: Called with (index of a prompt, its draws) as soon as the last of its draws has ended.
OnPrompt = Callable[[int, Draws], None]
#: Called after every token with the tokens of all rows (B, T) so far; what it raises ends all.
OnToken = Callable[[Tensor], None]


def uniform_table(seed: int | None, key: str, draws: int, steps: int) -> Tensor:
    """Uniform numbers (draws, steps) in [0, 1), the same for the same seed and key."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
        generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.rand((draws, steps), generator=generator, dtype=torch.float64)


def filtered_log_probs(logits: Tensor, params: GenerationParams) -> Tensor:
    """Log-probabilities (B, V) of the distribution that is sampled; temperature 0 counts as 1."""
    scores = logits.float()
    if params.temperature > 0:
        scores = scores / params.temperature
    if 0 < params.top_k < scores.shape[-1]:
        threshold = scores.topk(params.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < threshold, -torch.inf)
    if params.top_p < 1.0:
        ordered, index = scores.softmax(-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= params.top_p
        scores = scores.masked_fill(beyond.scatter(-1, index, beyond), -torch.inf)
    return scores.log_softmax(-1)


def choose_tokens(log_probs: Tensor, uniforms: Tensor, *, greedy: bool) -> Tensor:
    """One token per row (B,): the most likely one, or the inverse of the distribution at u."""
    if greedy:
        return log_probs.argmax(-1)
    cumulative = log_probs.double().exp().cumsum(-1)
    target = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp_(
        max=log_probs.shape[-1] - 1
    )


@torch.no_grad()
def generate(
    model: Any,
    inputs: Any,
    *,
    keys: Sequence[str],
    draws: int,
    params: GenerationParams,
    eos: Sequence[int],
    pad: int,
    suppressed: Sequence[int],
    on_prompt: OnPrompt | None = None,
    on_token: OnToken | None = None,
) -> Draws:
    """``draws`` completions for each of P left-padded prompts.

    ``inputs`` is what the processor made of the P prompts; ``keys`` (P,) name them for the random
    tables. ``suppressed`` token ids are never chosen. ``on_prompt`` is called once for every
    prompt, while others of the batch still run.
    """
    device = inputs["input_ids"].device
    greedy = params.temperature <= 0
    width = 1 if greedy else draws
    uniforms = torch.cat(
        [uniform_table(params.seed, key, width, params.max_new_tokens) for key in keys]
    ).to(device)
    banned = torch.tensor(list(suppressed), dtype=torch.long, device=device)
    ends = torch.tensor(list(eos), dtype=torch.long, device=device)

    output = model(**inputs, **prompt_positions(model, inputs), use_cache=True, logits_to_keep=1)
    cache = output.past_key_values
    logits = output.logits[:, -1].repeat_interleave(width, 0)
    mask = inputs["attention_mask"].repeat_interleave(width, 0)
    if width > 1:
        cache.batch_repeat_interleave(width)
    offset = rope_offset(model, mask, width)

    tokens: list[Tensor] = []
    logprobs: list[Tensor] = []

    def draws_of(rows: slice) -> Draws:
        steps = ([step[rows] for step in tokens], [step[rows] for step in logprobs])
        return _finish(*steps, ends, repeat=draws if greedy else 1)

    running = set(range(len(keys)))
    done = torch.zeros(len(mask), dtype=torch.bool, device=device)
    for step in range(params.max_new_tokens):
        logits = logits.index_fill(-1, banned, -torch.inf)
        log_probs = filtered_log_probs(logits, params)
        token = choose_tokens(log_probs, uniforms[:, step], greedy=greedy)
        chosen = log_probs.gather(-1, token[:, None])[:, 0]
        tokens.append(token.masked_fill(done, pad))
        logprobs.append(chosen.masked_fill(done, 0.0))
        if on_token is not None:
            on_token(torch.stack(tokens, 1))
        done = done | torch.isin(token, ends)
        last = step + 1 == params.max_new_tokens
        if on_prompt is not None:
            ended = (done | last).view(-1, width).all(-1).nonzero()[:, 0].tolist()
            for prompt in sorted(running.intersection(ended)):
                running.remove(prompt)
                on_prompt(prompt, draws_of(slice(prompt * width, (prompt + 1) * width)))
        if last or bool(done.all()):
            break
        position = mask.sum(-1, keepdim=True) + offset
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], -1)
        output = model(
            input_ids=tokens[-1][:, None],
            attention_mask=mask,
            position_ids=shaped(position, model),
            past_key_values=cache,
            use_cache=True,
        )
        cache, logits = output.past_key_values, output.logits[:, -1]
    return draws_of(slice(None))


def prompt_positions(model: Any, inputs: Any) -> dict[str, Tensor]:
    """Positions that count no padding; Qwen finds those of prompts with images by itself.

    Without images it would keep the shift of an earlier batch, which is taken off here.
    """
    if _has_rope_shift(model):
        if "pixel_values" in inputs:
            return {}
        _base(model).rope_deltas = None
    position = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return {"position_ids": shaped(position, model)}


def rope_offset(model: Any, mask: Tensor, width: int) -> Tensor:
    """Qwen's image tokens use fewer positions than tokens: the shift (B, 1) of what follows."""
    deltas = getattr(_base(model), "rope_deltas", None)
    if deltas is None:
        return mask.new_zeros(len(mask), 1)
    shift: Tensor = deltas.to(mask.device).repeat_interleave(width, 0)
    return shift


def shaped(position: Tensor, model: Any) -> Tensor:
    """Positions (B, T) as the model takes them: Qwen's three axes, alike for text."""
    return position[None].expand(3, -1, -1) if _has_rope_shift(model) else position


def _has_rope_shift(model: Any) -> bool:
    return hasattr(_base(model), "rope_deltas")


def _base(model: Any) -> Any:
    return getattr(model, "model", model)


def _finish(tokens: list[Tensor], logprobs: list[Tensor], ends: Tensor, repeat: int) -> Draws:
    all_tokens = torch.stack(tokens, 1).repeat_interleave(repeat, 0)
    all_logprobs = torch.stack(logprobs, 1).repeat_interleave(repeat, 0)
    is_end = torch.isin(all_tokens, ends)
    stopped = is_end.any(-1)
    first = is_end.long().argmax(-1) + 1
    lengths = torch.where(stopped, first, torch.full_like(first, all_tokens.shape[1]))
    return Draws(all_tokens, all_logprobs, lengths, stopped)
