"""Supervised batches of the built-in benchmark for the tiny policy.

A curriculum's mixture names what is practised and how much, ``family`` or ``family:style``:

    {"caption": 2, "where": 1, "count_pair:trace": 4}

Sample k of a stage depends on (seed, stage, k) alone, so that a resumed run sees what an unbroken
one would have seen. Only the train split is read.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import write_chain
from ekipl_lab.benchmarks.mini.task import SampleKey
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.policies.tokenizer import ASSISTANT, IMAGE, USER, VISION_END, VISION_START
from ekipl_lab.training.sft.labels import patch_labels, with_backdrop
from ekipl_lab.training.sft.model import Batch
from ekipl_lab.types import Sample


@dataclass(frozen=True, slots=True)
class Example:
    """A sample and the completion to learn; ``weight`` of its loss."""

    sample: Sample
    completion: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Drill:
    """One entry of a mixture: a family, the chain style it is written in, its share."""

    family: str
    style: str
    share: float


def parse_mixture(mixture: Mapping[str, float], task: str, styles: Sequence[str]) -> list[Drill]:
    """The drills of a mixture, shares summing to 1; ConfigError for unknown families or styles."""
    total = sum(mixture.values())
    if not mixture or total <= 0:
        raise ConfigError("A stage's mixture is empty; name at least one family with a share > 0.")
    drills = []
    for name, share in mixture.items():
        family, _, style = name.partition(":")
        if family not in MINI_TASKS[task].families:
            raise unknown_name(f"family of task {task!r}", family, MINI_TASKS[task].families)
        if style and style not in styles:
            raise unknown_name("chain style", style, styles)
        drills.append(Drill(family, style or styles[0], share / total))
    return drills


class ExampleStream:
    """Examples of one stage by index."""

    def __init__(
        self,
        task: str,
        drills: Sequence[Drill],
        seed: int,
        image_size: int,
        backdrops: float = 0.0,
    ) -> None:
        self._task, self._seed, self._size = MINI_TASKS[task], seed, image_size
        self._backdrops = backdrops
        self._drills = list(drills)
        self._by_images = {
            flag: [d for d in drills if self._task.families[d.family].images is flag]
            for flag in (True, False)
        }
        self._text_share = sum(drill.share for drill in self._by_images[False])

    def batch(self, step: int, size: int) -> list[Example]:
        """The examples of a step: all with images, or all without."""
        with_images = random.Random(f"{self._seed}/{step}").random() >= self._text_share
        drills = self._by_images[with_images]
        weights = [drill.share for drill in drills]
        examples = []
        for index in range(step * size, (step + 1) * size):
            rng = random.Random(f"{self._seed}/{step}/{index}")
            drill = rng.choices(drills, weights)[0]
            key = SampleKey(self._task.name, "train", self._seed, drill.family, index)
            sample = self._task.build(key, self._size)
            if sample.images and rng.random() < self._backdrops:
                sample = with_backdrop(sample, self._size, rng)
            examples.append(Example(sample, write_chain(sample, style=drill.style, rng=rng)))
        return examples


class ShuffledExamples:
    """Given examples by index: every pass over them in an order of its own, from the seed."""

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        counts = {len(example.sample.images) for example in examples}
        if len(counts) > 1:
            raise ConfigError(
                f"The examples have {min(counts)} to {max(counts)} images, and a batch holds one "
                "number of them; teach their families apart (data.families)."
            )
        self._examples, self._seed = list(examples), seed

    def batch(self, step: int, size: int) -> list[Example]:
        """The examples of a step; a pass may end within it."""
        return [self._examples[i] for i in shuffled(len(self._examples), self._seed, step, size)]


def shuffled(count: int, seed: int, step: int, size: int) -> list[int]:
    """Which of ``count`` examples a step of ``size`` shows; a pass may end within it."""
    first, last = step * size, (step + 1) * size - 1
    orders = {}
    for turn in range(first // count, last // count + 1):
        orders[turn] = list(range(count))
        random.Random(f"{seed}/{turn}").shuffle(orders[turn])
    return [orders[i // count][i % count] for i in range(first, last + 1)]


def parts_by_length(examples: Sequence[Example], parts: int) -> list[list[Example]]:
    """The examples in ``parts`` lists of nearly equal size, short ones first: less padding."""

    def words(example: Example) -> int:
        return len(example.sample.question.split()) + len(example.completion.split())

    ordered = sorted(examples, key=words) if parts > 1 else list(examples)
    edges = [len(ordered) * part // parts for part in range(parts + 1)]
    return [ordered[low:high] for low, high in pairwise(edges) if low < high]


class BatchEncoder:
    """Examples to tensors, with the same result as the policy's processor (a test compares)."""

    def __init__(self, processor: Any) -> None:
        tokenizer = processor.tokenizer
        image_processor = processor.image_processor
        self.side = int(image_processor.size["shortest_edge"] ** 0.5)
        self.patch = int(image_processor.patch_size)
        self.grid = (self.side // self.patch, self.side // self.patch)
        self._tokenizer = tokenizer
        self._pad, self._eos = tokenizer.pad_token_id, tokenizer.eos_token_id
        self._ids = {
            token: tokenizer.convert_tokens_to_ids(token)
            for token in (USER, ASSISTANT, IMAGE, VISION_START, VISION_END)
        }

    def patches(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """The (P, 3*p*p) patches of an image of the policy's own size, values -1 to 1."""
        if image.size != (self.side, self.side):
            raise ConfigError(
                f"An image is {image.size[0]} x {image.size[1]} pixels but the policy takes "
                f"{self.side} x {self.side}; set image_size to the same."
            )
        rows, columns = self.grid
        pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
        blocks = pixels.reshape(rows, self.patch, columns, self.patch, 3)
        return blocks.transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1)

    def _pictures(self, images: int) -> list[int]:
        """Placeholders of all images of a prompt, as the chat template writes them."""
        one = [self._ids[IMAGE]] * (self.grid[0] * self.grid[1])
        return [
            token
            for number in range(1, images + 1)
            for token in (
                *(self._tokenizer(str(number)).input_ids if images > 1 else ()),
                self._ids[VISION_START],
                *one,
                self._ids[VISION_END],
            )
        ]

    def encode(self, examples: Sequence[Example], weights: Mapping[int, float]) -> Batch:
        """One batch; ``weights`` raises the loss weight of single tokens above 1."""
        images = len(examples[0].sample.images)
        prompts = self._tokenizer([example.sample.question for example in examples]).input_ids
        targets = self._tokenizer([example.completion for example in examples]).input_ids
        pictures = self._pictures(images)
        rows = [[self._ids[USER], *pictures, *ids, self._ids[ASSISTANT]] for ids in prompts]
        starts = [len(row) for row in rows]
        rows = [[*row, *ids, self._eos] for row, ids in zip(rows, targets, strict=True)]
        length = max(map(len, rows))
        input_ids = torch.full((len(rows), length), self._pad)
        target_weights = torch.zeros(len(rows), length)
        for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
            input_ids[number, : len(row)] = torch.tensor(row)
            own = examples[number].weight
            target_weights[number, start : len(row)] = torch.tensor(
                [own * weights.get(token, 1.0) for token in row[start:]]
            )
        patches = None
        if images:
            stacked = [
                np.stack([self.patches(image) for image in example.sample.images])
                for example in examples
            ]
            patches = torch.from_numpy(np.stack(stacked))
        labels = patch_labels([e.sample for e in examples], self.grid) if images else None
        return Batch(patches, input_ids, target_weights, labels)
