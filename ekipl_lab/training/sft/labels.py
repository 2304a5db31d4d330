"""What the pictures of the built-in benchmark show, patch by patch, and other backgrounds.

Dense supervision of the vision tower: counting and transformation name the thing in each cell,
geometry the label (up to three digits, or x) whose centre lies in a patch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ekipl_lab.benchmarks.mini.counting.render import render as render_counting
from ekipl_lab.benchmarks.mini.counting.scene import ATTRIBUTES, cell_labels, scene_from_json
from ekipl_lab.benchmarks.mini.geometry.task import label_places
from ekipl_lab.benchmarks.mini.transformation.scene import VALUES, pair_from_json, pair_labels
from ekipl_lab.errors import ConfigError
from ekipl_lab.types import Sample

Grid = tuple[int, int]
Labels = npt.NDArray[np.int64]
#: Labels of geometry are three characters, right-aligned: a digit, x, or none.
_CHARACTERS = "0123456789x "


@dataclass(frozen=True, slots=True)
class _Labelling:
    """``classes`` per column, and the (images, P, K) labels of a sample's metadata."""

    classes: tuple[int, ...]
    label: Callable[[Mapping[str, Any], Grid], Labels]


def _counting(metadata: Mapping[str, Any], grid: Grid) -> Labels:
    return cell_labels(scene_from_json(metadata["scene"]))[None]


def _transformation(metadata: Mapping[str, Any], grid: Grid) -> Labels:
    labels = pair_labels(pair_from_json(metadata["scene"]))
    return labels[::-1].copy() if metadata["query"].get("swapped") else labels


def _geometry(metadata: Mapping[str, Any], grid: Grid) -> Labels:
    rows, columns = grid
    labels = np.full((1, rows * columns, 3), -1, dtype=np.int64)
    for text, x, y in label_places(metadata):
        patch = min(rows - 1, int(y * rows)) * columns + min(columns - 1, int(x * columns))
        labels[0, patch] = [_CHARACTERS.index(character) for character in text.rjust(3)]
    return labels


_TASKS = {
    "counting": _Labelling(tuple(map(len, ATTRIBUTES.values())), _counting),
    "geometry": _Labelling((len(_CHARACTERS),) * 3, _geometry),
    "transformation": _Labelling(tuple(map(len, VALUES.values())), _transformation),
}


def patch_classes(task: str) -> tuple[int, ...]:
    """Classes per column of the labels of a task."""
    return _TASKS[task].classes


def patch_labels(samples: Sequence[Sample], grid: Grid) -> torch.Tensor:
    """Labels (B, images, P, K) of samples of one task; -1 throughout where there is nothing.

    Raises ConfigError where the grid of patches is not that of the scene's cells.
    """
    labelling = _TASKS[samples[0].task]
    labels = np.stack([labelling.label(sample.metadata, grid) for sample in samples])
    if labels.shape[2] != grid[0] * grid[1]:
        raise ConfigError(
            f"The patches of task {samples[0].task!r} are labelled by its {labels.shape[2]} cells, "
            f"but the policy has {grid[0]} x {grid[1]} patches; set patch_size to image_size / 4."
        )
    return torch.from_numpy(labels)


def with_backdrop(sample: Sample, size: int, rng: random.Random) -> Sample:
    """A counting sample drawn before a random background; other samples as they are."""
    if sample.task != "counting":
        return sample
    level = rng.randint(40, 250)
    red, green, blue = (max(0, min(255, level + rng.randint(-25, 25))) for _ in range(3))
    drop, stripes = rng.randint(0, 40), rng.choice((0, 0, rng.randint(5, 20)))
    bottom = (max(0, red - drop), max(0, green - drop), max(0, blue - drop))
    scene = scene_from_json(sample.metadata["scene"])
    image = render_counting(scene, size, ((red, green, blue), bottom, stripes))
    return replace(sample, images=(image,))
