"""The tiny policy's forward pass for supervised training, batched over images of one size.

It computes what ``Qwen2VLForConditionalGeneration.forward`` computes (a test compares them), but
runs the vision tower on all images at once, and the head on completion tokens only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_vl.modeling_qwen2_vl import rotate_half


@dataclass(frozen=True, slots=True)
class Batch:
    """B right-padded rows with the same number of images, which stand before the text.

    ``patches`` (B, images, P, C*p*p); ``input_ids`` (B, L) with image placeholders;
    ``target_weights`` (B, L): the loss weight of predicting the token at that place, 0 in prompts
    and padding. ``patch_labels`` (B, images, P, K) or None: classes per patch, -1 for none.
    """

    patches: Tensor | None
    input_ids: Tensor
    target_weights: Tensor
    patch_labels: Tensor | None = None


def encode_images(visual: Any, patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Image features (N, P, hidden) of N images of ``grid`` = (rows, columns) patches each."""
    count, length, _ = patches.shape
    hidden = visual.patch_embed(patches.reshape(count * length, -1)).view(count, length, -1)
    rows = torch.arange(grid[0]).repeat_interleave(grid[1])
    columns = torch.arange(grid[1]).repeat(grid[0])
    cos, sin = visual.rotary_pos_emb(hidden, torch.stack([rows, columns], -1))
    for block in visual.blocks:
        hidden = hidden + _vision_attention(block.attn, block.norm1(hidden), cos, sin)
        hidden = hidden + block.mlp(block.norm2(hidden))
    features: Tensor = visual.merger(hidden).view(count, length, -1)
    return features


def _vision_attention(attention: Any, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    count, length, width = hidden.shape
    query, key, value = (
        attention.qkv(hidden).view(count, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    )
    query = query * cos + rotate_half(query) * sin
    key = key * cos + rotate_half(key) * sin
    mixed = functional.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    out: Tensor = attention.proj(mixed.transpose(1, 2).reshape(count, length, width))
    return out


def _lead(images: int) -> int:
    """Tokens before the patches of one image: its number where there are several, and the start."""
    return 2 if images > 1 else 1


def image_positions(grids: Sequence[tuple[int, int]]) -> Tensor:
    """Positions (3, L) of ``user, ([number], start, image, end) * images``, by their grids.

    The number stands where there are several images.
    """
    positions = [torch.zeros(3, 1, dtype=torch.long)]
    at = 1
    for rows, columns in grids:
        lead = _lead(len(grids))
        positions.append((torch.arange(lead) + at).expand(3, -1))
        at += lead - 1
        time = torch.zeros(rows * columns, dtype=torch.long)
        row = torch.arange(rows).repeat_interleave(columns)
        column = torch.arange(columns).repeat(rows)
        positions.append(torch.stack([time, row, column]) + at + 1)
        at += 1 + max(rows, columns)
        positions.append(torch.full((3, 1), at))
        at += 1
    return torch.cat(positions, 1)


def mrope_positions(images: int, grid: tuple[int, int], length: int) -> Tensor:
    """Positions (3, L) of a row of so many images of one grid, followed by text."""
    head = image_positions([grid] * images)
    text = torch.arange(length - head.shape[1]) + int(head[:, -1].max()) + 1
    return torch.cat([head, text.expand(3, -1)], 1)


@dataclass(frozen=True, slots=True)
class Output:
    """``loss``: weighted mean cross-entropy of the completions. ``features`` (B, I, P, hidden) of
    the images or None."""

    loss: Tensor
    features: Tensor | None


def forward(model: Any, batch: Batch, grid: tuple[int, int], focus: float = 0.0) -> Output:
    """The completions' loss and what the throw-away heads need.

    ``focus`` > 0 weighs each token by (1 - p)^focus, without a gradient through the weight (focal
    loss, arXiv 1708.02002): what copying gets right no longer hides what must be seen.
    """
    language = model.model.language_model
    embeddings = language.embed_tokens(batch.input_ids)
    features = None
    if batch.patches is not None:
        count, images, length, width = batch.patches.shape
        flat = encode_images(
            model.model.visual, batch.patches.view(count * images, length, width), grid
        )
        features = flat.view(count, images, length, -1)
        pieces, at = [], 0
        for index in range(images):
            start = 1 + _lead(images) + index * (length + 1 + _lead(images))
            pieces += [embeddings[:, at:start], features[:, index]]
            at = start + length
        embeddings = torch.cat([*pieces, embeddings[:, at:]], 1)
    images = 0 if batch.patches is None else batch.patches.shape[1]
    positions = mrope_positions(images, grid, batch.input_ids.shape[1])
    output = language(
        inputs_embeds=embeddings,
        position_ids=positions[:, None].expand(-1, len(embeddings), -1),
        use_cache=False,
    )
    hidden = output.last_hidden_state
    weights = batch.target_weights[:, 1:]
    chosen = weights > 0
    logits = model.lm_head(hidden[:, :-1][chosen])
    losses = functional.cross_entropy(logits, batch.input_ids[:, 1:][chosen], reduction="none")
    kept = weights[chosen]
    if focus > 0:
        kept = kept * (-torch.expm1(-losses.detach())).clamp_min(1e-4) ** focus
    loss = (losses * kept).sum() / kept.sum()
    return Output(loss, features)


class PatchHead(nn.Module):
    """A throw-away linear head: from a patch its place, and the thing in it if there is one."""

    def __init__(self, hidden: int, places: int, classes: tuple[int, ...]) -> None:
        super().__init__()
        self.places, self.classes = places, classes
        self.linear = nn.Linear(hidden, places + 1 + sum(classes))

    def loss(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Summed loss, and the share of right values: place, presence, attributes (2+K,).

        ``features`` (..., P, hidden), ``labels`` (..., P, K) with -1 throughout for no thing.
        """
        place, presence, values = self._said(features)
        labels = labels.reshape(-1, labels.shape[-1])
        where = torch.arange(self.places).repeat(len(labels) // self.places)
        there = labels[:, 0] >= 0
        total = functional.cross_entropy(place, where)
        total = total + functional.binary_cross_entropy_with_logits(presence[:, 0], there.float())
        right = [(place.argmax(-1) == where), (presence[:, 0] > 0) == there]
        for column, scores in enumerate(torch.split(values[there], list(self.classes), -1)):
            target = labels[there, column]
            total = total + functional.cross_entropy(scores, target)
            right.append(scores.argmax(-1) == target)
        return total, torch.stack([flags.float().mean() for flags in right]).detach()

    def right(self, features: Tensor, labels: Tensor) -> Tensor:
        """Whether everything is read right, patch by patch (patches,): thing or none, and what."""
        _, presence, values = self._said(features)
        labels = labels.reshape(-1, labels.shape[-1])
        said = torch.stack(
            [scores.argmax(-1) for scores in torch.split(values, list(self.classes), -1)], -1
        )
        there = labels[:, 0] >= 0
        return ((presence[:, 0] > 0) == there) & (~there | (said == labels).all(-1))

    def _said(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.linear(features.reshape(-1, features.shape[-1]))
        place, presence, values = output.split((self.places, 1, sum(self.classes)), -1)
        return place, presence, values
