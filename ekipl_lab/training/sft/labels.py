"""What the pictures of the built-in benchmark show, patch by patch, and other backgrounds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.task import PatchLabels
from ekipl_lab.errors import ConfigError
from ekipl_lab.types import Sample

Grid = tuple[int, int]


def _labels_of(task: str) -> PatchLabels:
    labels = MINI_TASKS[task].patches
    if labels is None:
        raise ConfigError(f"Task {task!r} has no labels of patches; give its MiniTask `patches`.")
    return labels


def patch_classes(task: str) -> tuple[int, ...]:
    """Classes per column of the labels of a task."""
    return _labels_of(task).classes


def patch_labels(samples: Sequence[Sample], grid: Grid) -> torch.Tensor:
    """Labels (B, images, P, K) of samples of one task; -1 throughout where there is nothing.

    Raises ConfigError where the grid of patches is not that of the scene's cells.
    """
    label = _labels_of(samples[0].task).label
    labels = np.stack([label(sample.metadata, grid) for sample in samples])
    if labels.shape[2] != grid[0] * grid[1]:
        raise ConfigError(
            f"The patches of task {samples[0].task!r} are labelled by its {labels.shape[2]} cells, "
            f"but the policy has {grid[0]} x {grid[1]} patches; set patch_size to image_size / 4."
        )
    return torch.from_numpy(labels)


def with_backdrop(sample: Sample, size: int, rng: random.Random) -> Sample:
    """A sample drawn before a random background, where its task can (counting); else as it is."""
    redraw = MINI_TASKS[sample.task].with_backdrop
    if redraw is None:
        return sample
    level = rng.randint(40, 250)
    red, green, blue = (max(0, min(255, level + rng.randint(-25, 25))) for _ in range(3))
    drop, stripes = rng.randint(0, 40), rng.choice((0, 0, rng.randint(5, 20)))
    bottom = (max(0, red - drop), max(0, green - drop), max(0, blue - drop))
    backdrop = ((red, green, blue), bottom, stripes)
    return replace(sample, images=redraw(sample.metadata, size, backdrop))
