"""Supervised batches of data of one's own: a picture is read once for all questions about it.

    row:      <|user|> picture(s)   question answer   question answer   ...
    segment:  0                     1                 2                       -1 (padding)

Every token sees the pictures (segment 0) and what stands before it in its own segment, at the
positions that it would have in a prompt of its own. So the loss is that of separate prompts (a test
compares it with the model's own), and a picture costs its tokens once.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from ekipl_lab.benchmarks.image_files import sizes_of
from ekipl_lab.errors import DataError
from ekipl_lab.policies.tokenizer import ASSISTANT, IMAGE, USER, VISION_END, VISION_START
from ekipl_lab.prompts import content_of, prompt_text
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.model import encode_images, image_positions

Grid = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shown:
    """The pictures of some samples, as grids of patches, and the examples that are about them."""

    grids: tuple[Grid, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """B right-padded rows whose pictures have the same grids.

    ``patches``: of each picture (B, P, C*p*p); ``input_ids``, ``segments`` (B, L) as above;
    ``positions`` (3, B, L); ``weights`` (B, L): of predicting the token at that place.
    """

    patches: tuple[Tensor, ...]
    grids: tuple[Grid, ...]
    input_ids: Tensor
    segments: Tensor
    positions: Tensor
    weights: Tensor


class PictureEncoder:
    """Examples to batches, with the same pixels and tokens as the policy's processor gives."""

    def __init__(self, processor: Any, shift: int = 0) -> None:
        """``shift``: pictures are moved by up to so many pixels, their borders repeated."""
        tokenizer, images = processor.tokenizer, processor.image_processor
        self.patch, self.shift = int(images.patch_size), shift
        self._pixels = int(images.size["shortest_edge"])
        self._tokenizer = tokenizer
        self._ids = {
            token: tokenizer.convert_tokens_to_ids(token)
            for token in (USER, ASSISTANT, IMAGE, VISION_START, VISION_END)
        }

    def grid(self, size: tuple[int, int]) -> Grid:
        """Rows and columns of patches of a picture of ``size`` (width, height)."""
        width, height = size
        high, wide = smart_resize(
            height, width, self.patch, min_pixels=self._pixels, max_pixels=self._pixels
        )
        return high // self.patch, wide // self.patch

    def gather(self, examples: Sequence[Example]) -> list[Shown]:
        """The examples by what they show, in the order of their first; DataError for one whose
        text names a picture in its midst."""
        found: dict[Any, list[Example]] = defaultdict(list)
        for example in examples:
            words_of(example)
            sources = getattr(example.sample.images, "sources", example.sample.id)
            found[sources].append(example)
        return [
            Shown(tuple(map(self.grid, sizes_of(group[0].sample))), tuple(group))
            for group in found.values()
        ]

    def encode(self, rows: Sequence[Shown], rng: random.Random) -> PackedBatch:
        """One batch of rows with equal grids; ``rng`` draws the shifts."""
        grids = rows[0].grids
        head = [self._ids[USER], *self._placeholders(grids)]
        lead = image_positions(grids)
        texts = [[self._tokens(example) for example in row.examples] for row in rows]
        length = len(head) + max(sum(len(ids) for ids, _ in row) for row in texts)
        input_ids = torch.full((len(rows), length), self._tokenizer.pad_token_id)
        segments = torch.full((len(rows), length), -1)
        positions = torch.zeros(3, len(rows), length, dtype=torch.long)
        weights = torch.zeros(len(rows), length)
        for number, (row, told) in enumerate(zip(rows, texts, strict=True)):
            input_ids[number, : len(head)] = torch.tensor(head)
            segments[number, : len(head)] = 0
            positions[:, number, : len(head)] = lead
            at = len(head)
            for place, ((ids, asked), example) in enumerate(zip(told, row.examples, strict=True)):
                end = at + len(ids)
                input_ids[number, at:end] = torch.tensor(ids)
                segments[number, at:end] = place + 1
                positions[:, number, at:end] = torch.arange(len(ids)) + int(lead.max()) + 1
                weights[number, at + asked : end] = example.weight
                at = end
        patches = [self._shown(row, rng) for row in rows]
        stacked = tuple(torch.from_numpy(np.stack(one)) for one in zip(*patches, strict=True))
        return PackedBatch(stacked, grids, input_ids, segments, positions, weights)

    def _tokens(self, example: Example) -> tuple[list[int], int]:
        """Question, answer and end as tokens; how many of them are the question's."""
        asked = [*self._tokenizer(words_of(example)).input_ids, self._ids[ASSISTANT]]
        told = self._tokenizer(example.completion).input_ids
        return [*asked, *told, self._tokenizer.eos_token_id], len(asked)

    def _placeholders(self, grids: Sequence[Grid]) -> list[int]:
        ids, several = list[int](), len(grids) > 1
        for number, (rows, columns) in enumerate(grids, start=1):
            ids += self._tokenizer(str(number)).input_ids if several else []
            ids += [self._ids[VISION_START], *[self._ids[IMAGE]] * (rows * columns)]
            ids.append(self._ids[VISION_END])
        return ids

    def _shown(self, row: Shown, rng: random.Random) -> list[npt.NDArray[np.float32]]:
        images = row.examples[0].sample.images
        return [self.patches(image, rng) for image in images]

    def patches(self, image: Image.Image, rng: random.Random) -> npt.NDArray[np.float32]:
        """The (P, 3*p*p) patches of an image, values -1 to 1."""
        rows, columns = self.grid(image.size)
        size = (columns * self.patch, rows * self.patch)
        if image.size != size:
            image = image.resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
        if self.shift:
            down, right = (rng.randint(0, 2 * self.shift) for _ in range(2))
            margin = ((self.shift, self.shift), (self.shift, self.shift), (0, 0))
            wide = np.pad(pixels, margin, mode="edge")
            pixels = wide[down : down + size[1], right : right + size[0]]
        blocks = pixels.reshape(rows, self.patch, columns, self.patch, 3)
        return blocks.transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1)


def words_of(example: Example) -> str:
    """The text of an example's prompt, its pictures before it; DataError where one is within."""
    parts = content_of(example.sample, prompt_text(example.sample))
    if any(part["type"] == "image" for part in parts[len(example.sample.images) :]):
        raise DataError(
            f"Sample {example.sample.id!r} names a picture within its text, and this policy sees "
            "pictures first; put the <image> marks at the beginning, or leave them out."
        )
    return "".join(part["text"] for part in parts if part["type"] == "text")


class PictureStream:
    """Rows by step: pictures of equal grids, every pass in an order of its own, from the seed.

    Of a picture with more than ``most`` questions so many are drawn.
    """

    def __init__(self, shown: Sequence[Shown], seed: int, most: int) -> None:
        self._buckets: list[list[Shown]] = []
        for grids in dict.fromkeys(one.grids for one in shown):
            self._buckets.append([one for one in shown if one.grids == grids])
        self._seed, self._most = seed, most
        self._turns: list[tuple[int, int]] = []  # step -> bucket, and its visits before
        self._visits = [0] * len(self._buckets)

    def batch(self, step: int, size: int) -> list[Shown]:
        """``size`` rows."""
        weights = [len(bucket) for bucket in self._buckets]
        while len(self._turns) <= step:
            rng = random.Random(f"{self._seed}/{len(self._turns)}/bucket")
            (chosen,) = rng.choices(range(len(weights)), weights)
            self._turns.append((chosen, self._visits[chosen]))
            self._visits[chosen] += 1
        chosen, visit = self._turns[step]
        bucket, rng = self._buckets[chosen], random.Random(f"{self._seed}/{step}/questions")
        rows = []
        for index in range(visit * size, (visit + 1) * size):
            turn, place = divmod(index, len(bucket))
            row = bucket[_order(len(bucket), f"{self._seed}/{chosen}/{turn}")[place]]
            if len(row.examples) > self._most:
                row = Shown(row.grids, tuple(rng.sample(row.examples, self._most)))
            rows.append(row)
        return rows


@lru_cache(maxsize=64)
def _order(count: int, key: str) -> tuple[int, ...]:
    """A shuffled range; kept, since every step of a pass needs it."""
    order = list(range(count))
    random.Random(key).shuffle(order)
    return tuple(order)


def packed_loss(model: Any, batch: PackedBatch) -> Tensor:
    """The weighted mean cross-entropy of the answers."""
    language = model.model.language_model
    embeddings = language.embed_tokens(batch.input_ids)
    pieces, at, lead = list[Tensor](), 0, 2 if len(batch.grids) > 1 else 1
    for patches, grid in zip(batch.patches, batch.grids, strict=True):
        start = at + lead + 1  # the user's token or the end of the picture before, and what leads
        features = encode_images(model.model.visual, patches, grid)
        pieces += [embeddings[:, at:start], features]
        at = start + features.shape[1]
    embeddings = torch.cat([*pieces, embeddings[:, at:]], 1)
    segments = batch.segments
    own = segments[:, :, None] == segments[:, None, :]
    sees = torch.ones(own.shape[1:], dtype=torch.bool).tril() & (own | (segments == 0)[:, None])
    hidden = language(
        inputs_embeds=embeddings,
        attention_mask={"full_attention": sees[:, None]},
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state
    weights = batch.weights[:, 1:]
    chosen = weights > 0
    logits = model.lm_head(hidden[:, :-1][chosen])
    losses = functional.cross_entropy(logits, batch.input_ids[:, 1:][chosen], reduction="none")
    return (losses * weights[chosen]).sum() / weights[chosen].sum()
