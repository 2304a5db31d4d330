"""Each image is preprocessed once per generation, though its group shows it G times, twice over.

TRL hands the image processor every row of a batch: an image of a group is resized and cut G times
for sampling and G times more for the loss. Within `preprocessed_once` an image object is computed
once and its rows are repeated: the same bits in the same shapes (test_image_once.py). Layouts
that cannot be repeated image by image (tiles padded to the longest prompt) take the plain path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import BatchFeature

#: What a processor may give so that rows can be told apart: by the grid, or one row for each image.
BY_GRID = {"pixel_values", "image_grid_thw"}
BY_IMAGE = {"pixel_values", "num_crops"}

Row = dict[str, torch.Tensor]


class ImageOnce:
    """Stands in for an image processor; ``computed`` counts the images it was really asked for."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._rows: dict[str, dict[int, tuple[Any, Row]]] = {}
        self._plain = False
        self.computed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """What the processor gives for ``images`` (flat, or nested by prompt), as tensors."""
        flat = flatten(images)
        wanted = kwargs.get("return_tensors")
        if not (self._plain or args or wanted not in (None, "pt")):
            rows = self._each(flat, {k: v for k, v in kwargs.items() if k != "return_tensors"})
            if rows is not None:
                return BatchFeature({key: torch.cat([r[key] for r in rows]) for key in rows[0]})
        self.computed += len(flat)
        return self._processor(images, *args, **kwargs)

    def _each(self, flat: list[Any], kwargs: dict[str, Any]) -> list[Row] | None:
        """The output of every image, in order; None, now and ever after, for another layout."""
        known = self._rows.setdefault(repr(sorted(kwargs.items())), {})
        new = list({id(image): image for image in flat if id(image) not in known}.values())
        if new:
            self.computed += len(new)
            parts = split(self._processor(new, **kwargs, return_tensors="pt"), len(new))
            if parts is None:
                self._plain = True
                return None
            # the image is kept beside its row: an id is only good while its object lives
            known |= {id(image): (image, row) for image, row in zip(new, parts, strict=True)}
        return [known[id(image)][1] for image in flat]


@contextmanager
def preprocessed_once(processor: Any) -> Iterator[ImageOnce | None]:
    """Within the block, ``processor.image_processor`` computes every image object once."""
    plain = getattr(processor, "image_processor", None)
    if plain is None:
        yield None
        return
    processor.image_processor = ImageOnce(plain)
    try:
        yield processor.image_processor
    finally:
        processor.image_processor = plain


def flatten(images: Any) -> list[Any]:
    """The images of a flat or nested list, in order."""
    if not isinstance(images, list | tuple):
        return [images]
    return [image for part in images for image in flatten(part)]


def split(output: Any, count: int) -> list[Row] | None:
    """The output of ``count`` images, image by image; None where its layout is another."""
    keys = set(output)
    if not all(isinstance(output[key], torch.Tensor) for key in keys):
        return None
    if keys == BY_GRID:
        grid = output["image_grid_thw"]
        pixels = torch.split(output["pixel_values"], grid.prod(-1).tolist())
        return [
            {"pixel_values": pixels[i], "image_grid_thw": grid[i : i + 1]} for i in range(count)
        ]
    one_each = all(len(output[key]) == count for key in keys)
    if keys <= BY_IMAGE and one_each and not ("num_crops" in keys and output["num_crops"].any()):
        return [{key: output[key][i : i + 1] for key in keys} for i in range(count)]
    return None
