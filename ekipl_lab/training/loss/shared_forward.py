"""Log-probabilities of a batch whose rows share prompts, without work that changes nothing.

- Each distinct prompt is read once, images included (`policies.shared_prompts`).
- Completions of like lengths go through the model together, so that little padding does.
- A group without any advantage is computed without a graph: it has no gradient, and its
  log-probabilities and entropies stay what they are, for every mean that counts them.

TRL's own forward pass and head do the rest; values and gradients are TRL's up to the order of
floating-point sums (tests/training/test_shared_work.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ekipl_lab.policies.shared_prompts import PromptRows, expanded, read_prompts

#: Completions are cut into more parts of like lengths until at most this share of them is padding.
PADDING, PARTS = 0.1, 6


def shared_log_probs(
    model: Any,
    prompts: PromptRows,
    completion_ids: Tensor,
    completion_mask: Tensor,
    *,
    learning: Tensor | None = None,
    max_rows: int,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability and entropy (B, C) of every completion token, 0 where masked.

    ``model`` has TRL's fused head; that of a reference gives no entropies. ``learning`` (B,) says
    which rows have a gradient, None: all, where one is taken at all. At most ``max_rows`` rows go
    through the model at once.
    """
    with_graph, without = _groups(prompts, learning)
    parts: list[tuple[list[int], Tensor, Tensor | None]] = []
    for rows, context in ((with_graph, contextlib.nullcontext()), (without, torch.no_grad())):
        with context:
            parts += _completions(model, prompts, rows, completion_ids, completion_mask, max_rows)
    order = torch.tensor(
        [row for rows, _, _ in parts for row in rows], device=completion_ids.device
    )
    back, width = order.argsort(), completion_ids.shape[1]

    def in_place(columns: list[Tensor]) -> Tensor:
        wide = [pad(column, (0, width - column.shape[1])) for column in columns]
        return torch.cat(wide)[back]

    entropies = [entropy for _, _, entropy in parts if entropy is not None]
    return in_place([logps for _, logps, _ in parts]), in_place(entropies) if entropies else None


def _groups(prompts: PromptRows, learning: Tensor | None) -> tuple[list[int], list[int]]:
    """The rows with and without a graph; rows of one prompt stay together.

    One prompt, with images if any has some, always has a graph: every parameter gets a gradient,
    of zeros where nothing is learned, as it does without this module.
    """
    count = len(prompts.first)
    if learning is None:
        return list(range(count)), []
    learned = {prompts.first[row] for row in learning.nonzero()[:, 0].tolist()}
    shown = [row for row in range(count) if prompts.has_images(row)]
    if not learned or (shown and not any(prompts.has_images(row) for row in learned)):
        learned.add(prompts.first[(shown or [0])[0]])
    with_graph = [row for row in range(count) if prompts.first[row] in learned]
    return with_graph, [row for row in range(count) if prompts.first[row] not in learned]


def _completions(
    model: Any,
    prompts: PromptRows,
    rows: list[int],
    ids: Tensor,
    mask: Tensor,
    max_rows: int,
) -> list[tuple[list[int], Tensor, Tensor | None]]:
    """(rows, log-probabilities, entropies) part by part, each as wide as its longest completion."""
    if not rows:
        return []
    distinct, _ = prompts.places(rows)
    cache, shifts = read_prompts(model, prompts, distinct)
    found = []
    lengths = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(-1).tolist()
    for part in like_lengths(rows, lengths, max_rows):
        place = torch.tensor(
            [distinct.index(prompts.first[row]) for row in part], device=ids.device
        )
        chosen = torch.tensor(part, device=ids.device)
        width = max(1, *(lengths[row] for row in part))
        found.append((part, *_continue(
            model, prompts, chosen, expanded(cache, place), shifts[place],
            ids[chosen, :width], mask[chosen, :width],
        )))  # fmt: skip
    return found


def _continue(
    model: Any,
    prompts: PromptRows,
    rows: Tensor,
    cache: Any,
    shift: Tensor,
    ids: Tensor,
    mask: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """The completions after the keys and values of their prompts, (b, c) each."""
    ids = torch.cat([prompts.ids[rows, -1:], ids], 1)
    whole = torch.cat([prompts.mask[rows], mask], 1)
    labels = ids.masked_fill(whole[:, -ids.shape[1] :] == 0, -100)
    more: dict[str, Tensor] = {}
    if hasattr(model.base_model, "rope_deltas"):
        position = (whole.cumsum(-1) - 1 + shift)[:, -ids.shape[1] :].clamp(min=0)
        more["position_ids"] = position[None].expand(3, -1, -1)
    output = model(
        input_ids=ids, attention_mask=whole, past_key_values=cache, labels=labels,
        fused_lm_head=True, **more,
    )  # fmt: skip
    return output.log_probs, output.entropy


def like_lengths(rows: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
    """``rows`` by falling length, cut into as few parts as waste little, of at most ``most`` rows.

    Little: `PADDING` of all places in the parts; never into more than `PARTS`, unless ``most`` asks
    for it.
    """
    ordered = sorted(rows, key=lambda row: (-lengths[row], row))
    total = sum(lengths[row] for row in rows)
    for count in range(-(-len(rows) // most), max(PARTS, -(-len(rows) // most)) + 1):
        size = -(-len(rows) // count)
        parts = [ordered[start : start + size] for start in range(0, len(rows), size)]
        places = sum(len(part) * lengths[part[0]] for part in parts)
        if places - total <= PADDING * places:
            break
    return parts
