"""A tiny policy for data of one's own: what it is made of, decided from the training split alone.

    ekipl sft --data fruit/data.yaml --out policies/fruit --minutes 15

- Words: each piece of text that occurs twice or more in prompts, chains and answers is one token.
- Pictures: as many pixels as the median picture has, in 14-pixel patches, 4 to 8 a side.
- Answers: the chain of a record where the data have one, else ``<think> look</think>`` before it.
- Weights: those of a shipped policy, which looks things up in pictures, but for words it never had;
  ``init: none`` begins with random ones.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, field_validator

from ekipl_lab.benchmarks.image_files import picture_digests, sizes_of
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import check_folder
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.load import load_policy
from ekipl_lab.policies.tokenizer import pieces_of
from ekipl_lab.prompts import prompt_text
from ekipl_lab.teachers.adapters.replay import chain_fault, completion_of
from ekipl_lab.training.config.sections import DataSettings
from ekipl_lab.training.paths import policy_path
from ekipl_lab.training.sft.config import SFTConfig, Stage
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.pictures import PackedBatch, PictureEncoder, PictureStream, packed_loss
from ekipl_lab.training.sft.warm_start import WarmStart
from ekipl_lab.types import Sample
from ekipl_lab.validation import Count, Section, Seed

#: What a completion without a chain thinks: the form of an action asks for a word.
NO_CHAIN = "<think> look</think>"
#: Pixels of a patch, and patches of a picture's side.
PATCH, FEWEST, MOST = 14, 4, 8
#: Questions about one picture in one row.
PER_ROW = 8
#: Answers whose numbers are places in a picture: such pictures are not moved.
PLACES = ("box", "boxes", "point")


class OwnData(DataSettings):
    """The training split of data of one's own; ``limit`` unset: all of it."""

    benchmark: str
    task: str = ""
    limit: Count = 10**7


class OwnSFT(Section):
    """A tiny policy for data of one's own.

    ``minutes`` of one core are what training takes, as measured on its first steps; ``steps`` fixes
    their number instead. ``chains`` false: answers only. ``questions`` a step; rates as in
    `sft.config.Stage`. ``validation``: questions of that split on which it is measured.
    """

    name: str = "own"
    data: OwnData
    output: Path
    work_dir: Path | None = None
    seed: Seed = 0
    minutes: float = Field(default=15.0, gt=0, le=10_000)
    steps: Count | None = None
    chains: bool = True
    init: str = "assets/policies/counting"
    size: str = "demo"
    questions: Count = 64
    matrix_lr: float = Field(default=0.01, ge=0)
    rest_lr: float = Field(default=0.002, ge=0)
    warmup: int = Field(default=50, ge=0)
    final: float = Field(default=0.03, ge=0, le=1)
    validation: Count = 500
    save_every: Count = 100

    @field_validator("work_dir", "output")
    @classmethod
    def _a_folder(cls, path: Path | None) -> Path | None:
        return None if path is None else check_folder(path)

    @property
    def folder(self) -> Path:
        """Where the state of training is kept."""
        return self.work_dir or self.output.with_name(self.output.name + ".work")


def examples_of(samples: Sequence[Sample], chains: bool) -> list[Example]:
    """What is learned of each sample: its chain and answer, or its answer alone.

    Raises DataError for a chain that is no completion, or leads to another answer.
    """
    examples = []
    for sample in samples:
        completion = f"{NO_CHAIN}<answer>{sample.answer}</answer>"
        if chains and sample.cot and sample.cot.strip():
            if fault := chain_fault(sample):
                raise DataError(
                    f"The chain of sample {sample.id} cannot be learned: {fault}. Correct it or "
                    "leave it empty (`ekipl data check` counts them), or learn answers only."
                )
            completion = completion_of(sample)
        examples.append(Example(sample, completion))
    return examples


def picture_side(samples: Sequence[Sample]) -> int:
    """Pixels a side: the square with the pixels of the median picture, in whole patches."""
    sizes = [size for sample in samples for size in sizes_of(sample)]
    if not sizes:
        raise ConfigError("The data hold no pictures; a policy that sees needs some.")
    side = math.sqrt(statistics.median(width * height for width, height in sizes))
    return PATCH * min(MOST, max(FEWEST, round(side / PATCH)))


def own_pieces(examples: Sequence[Example]) -> list[str]:
    """The single tokens of the policy: pieces of the prompts and of what is learned."""
    texts = [text for e in examples for text in (prompt_text(e.sample), e.completion)]
    return pieces_of([*texts, NO_CHAIN, NO_CHAIN])


def longest(tokenizer: Any, examples: Sequence[Example]) -> int:
    """Tokens of the longest completion, with its end."""
    ids = tokenizer([example.completion for example in examples]).input_ids
    return 1 + max(len(row) for row in ids)


def stages_of(own: OwnSFT, examples: Sequence[Example], steps: int) -> SFTConfig:
    """The warm start that learns them; its recipe knows the examples by their digest."""
    said = [
        (e.sample.id, prompt_text(e.sample), e.completion, *picture_digests(e.sample))
        for e in examples
    ]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
    stage = Stage(
        name="chains and answers" if own.chains else "answers",
        steps=steps,
        batch_size=own.questions,
        mixture={f"own {digest}": 1.0},
        **own.model_dump(include={"matrix_lr", "rest_lr", "warmup", "final"}),
    )
    return SFTConfig(
        name=own.name,
        task=examples[0].sample.task,
        seed=own.seed,
        size=own.size,
        image_size=picture_side([example.sample for example in examples]),
        patch_size=PATCH,
        init=None if own.init == "none" else Path(own.init),
        work_dir=own.folder,
        output=own.output,
        save_every=own.save_every,
        stages=[stage],
    )


class OwnStart(WarmStart):
    """A warm start on examples of one's own."""

    def _begin(self) -> tuple[Any, Any]:
        config = self.config
        model, processor = build_tiny_policy(
            config.size,
            config.seed,
            image_size=config.image_size,
            patch_size=config.patch_size,
            own=own_pieces(self.examples),
        )
        if config.init is not None:
            take_weights(model, processor.tokenizer, policy_path(str(config.init)))
        return model, processor

    def _heads(self) -> dict[str, torch.nn.Module]:
        return {}

    def _open_stream(self, seed: int) -> None:
        moved = all(e.sample.answer_type not in PLACES for e in self.examples)
        shift = self.config.image_size // 16 if moved else 0
        self.pictures = PictureEncoder(self.processor, shift)
        shown = self.pictures.gather(self.examples)
        self.rows = PictureStream(shown, seed, PER_ROW)
        each = sum(min(PER_ROW, len(one.examples)) for one in shown) / len(shown)
        self.per_step = max(1, round(self.stage.batch_size / each))

    def next_batch(self) -> PackedBatch:
        """The batch of the current step."""
        rng = random.Random(f"{self.config.seed}/{self.step}/shift")
        return self.pictures.encode(self.rows.batch(self.step, self.per_step), rng)

    def _backward(self) -> dict[str, float]:
        loss = packed_loss(self.model, self.next_batch())
        torch.autograd.backward(loss)
        return {"text_loss": loss.item()}


@torch.no_grad()
def take_weights(model: Any, tokenizer: Any, source: str | Path) -> None:
    """Give ``model`` the weights of a policy of its shape; words that both know keep theirs.

    Raises ConfigError for a policy of another shape.
    """
    policy = load_policy(source)
    there = policy.processor.tokenizer.get_vocab()
    weights = policy.model.state_dict()
    own = model.state_dict()
    tables = [name for name in own if name.endswith(("embed_tokens.weight", "lm_head.weight"))]
    for name in own.keys() - set(tables):
        if name not in weights or weights[name].shape != own[name].shape:
            raise ConfigError(
                f"init {str(source)!r} is a policy of another shape ({name}); name a tiny one of "
                "the same size, or `none`."
            )
        own[name].copy_(weights[name])
    new, old = model.get_input_embeddings().weight, policy.model.get_input_embeddings().weight
    for token, index in tokenizer.get_vocab().items():
        if token in there:
            new[index] = old[there[token]]
