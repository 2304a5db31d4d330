"""Samples as the rows TRL's trainer wants, and an order of them that survives a resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.utils import RepeatSampler

from ekipl_lab.errors import ConfigError
from ekipl_lab.prompts import build_messages
from ekipl_lab.types import Sample


def prompt_dataset(samples: Sequence[Sample]) -> Dataset:
    """One row per sample: ``prompt`` (chat messages), ``images`` and ``sample_index``.

    Rows are made when they are read, from the samples in memory: images are never copied into the
    table. Raises ConfigError if there are no samples.
    """
    if not samples:
        raise ConfigError("The training data are empty; check data.task, families and limit.")
    rows = Dataset.from_dict({"sample_index": list(range(len(samples)))})
    return rows.with_transform(_Rows(samples))


class _Rows:
    """The transform of `prompt_dataset`; its identity (for caches of datasets) is the ids."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [self._samples[index] for index in batch["sample_index"]]
        return {
            "sample_index": batch["sample_index"],
            "prompt": [build_messages(sample) for sample in chosen],
            "images": [list(sample.images) for sample in chosen],
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return (tuple, ([sample.id for sample in self._samples],))


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's RepeatSampler, which gives the order of any epoch without running the earlier ones.

    TRL's draws one permutation after another from one generator, so that a run resumed in its
    second epoch would see the first epoch's order again.
    """

    @classmethod
    def like(cls, sampler: RepeatSampler) -> EpochSampler:
        """A sampler of the same order as ``sampler``."""
        return cls(
            sampler.data_source,
            mini_repeat_count=sampler.mini_repeat_count,
            batch_size=sampler.batch_size,
            repeat_count=sampler.repeat_count,
            shuffle=sampler.shuffle,
            seed=sampler.seed,
        )

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that of ``epoch``, counted from 0."""
        if self.shuffle and self.seed is not None:
            self.generator.manual_seed(self.seed)
            for _ in range(epoch):
                torch.randperm(self.num_samples, generator=self.generator)


def prompt_order(
    count: int, per_generation: int, *, epoch: int, seed: int | None, shuffle: bool = True
) -> list[list[int]]:
    """The prompts (sample indices) of every generation of one pass over ``count`` samples.

    The same that an `EpochSampler` of these sizes gives to the trainer in that epoch.
    """
    sampler = EpochSampler(
        range(count), mini_repeat_count=1, batch_size=per_generation, shuffle=shuffle, seed=seed
    )
    sampler.set_epoch(epoch)
    order = list(sampler)
    return [order[start : start + per_generation] for start in range(0, len(order), per_generation)]
