"""Has training seen the test? By id, by pixels and question, by pixels, by nearly equal pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ekipl_lab.benchmarks.reason_rft.checking import NEAR_BITS, difference_hash
from ekipl_lab.types import Sample

#: Above this many samples of either side the images are not hashed here; ``ekipl data check`` does.
MOST = 5000


@dataclass(frozen=True, slots=True)
class Contamination:
    """Test samples that training holds too. ``images`` are counted where all of a sample's images
    are in training; ``near`` are leads, not findings: rendered scenes share their background."""

    train: int
    test: int
    ids: int
    items: int
    images: int
    near: int
    examples: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """No test sample, and no test image, is among the training samples."""
        return not (self.ids or self.items or self.images)


def contamination(train: Sequence[Sample], test: Sequence[Sample]) -> Contamination | None:
    """Overlap of two sets, each at most ``MOST`` samples; None for larger ones.

    ``items``: same images and same question; ``images``: the same images; ``near``: an image
    within ``NEAR_BITS`` of 256 bits (difference hash) of one in training, and not equal to it.
    """
    if max(len(train), len(test)) > MOST:
        return None
    known_ids = {sample.id for sample in train}
    prints = [_exact(sample) for sample in train]
    items = {(exact, sample.question) for exact, sample in zip(prints, train, strict=True)}
    images = {one for exact in prints for one in exact}
    table = [difference_hash(image) for sample in train for image in sample.images]
    stacked = np.stack(table) if table else None
    ids = same = seen = near = 0
    examples: list[str] = []
    for sample in test:
        exact = _exact(sample)
        is_id, is_item = sample.id in known_ids, (exact, sample.question) in items
        is_image = bool(exact) and all(one in images for one in exact)
        ids, same, seen = ids + is_id, same + is_item, seen + is_image
        if is_id or is_item or is_image:
            examples.append(sample.id)
        elif stacked is not None and any(_near(stacked, image) for image in sample.images):
            near += 1
    return Contamination(len(train), len(test), ids, same, seen, near, tuple(examples[:5]))


def _exact(sample: Sample) -> tuple[str, ...]:
    return tuple(
        hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()
        for image in sample.images
    )


def _near(table: Any, image: Any) -> bool:
    distances = np.bitwise_count(table ^ difference_hash(image)).sum(axis=1)
    return bool(distances.min() <= NEAR_BITS)
