"""Images that are opened when they are looked at: 60,000 records do not fit in memory as pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from PIL import Image

from ekipl_lab.errors import DataError

#: The limit of the published training and evaluation scripts, in pixels per image.
MAX_PIXELS = 480_000


def open_image(path: Path, size: int | None = None) -> Image.Image:
    """The RGB image of a file, its long side at most ``size``, or at most MAX_PIXELS pixels.

    Never enlarged; the sides keep their ratio. Raises DataError for a file that is no image.
    """
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"Image {path} cannot be read ({error}); download it again.") from error
    if size is None:
        factor = math.sqrt(MAX_PIXELS / (image.width * image.height))
    else:
        factor = size / max(image.size)
    if factor >= 1.0:
        return image
    shape = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
    return image.resize(shape, Image.Resampling.BICUBIC)


class ImageFiles(Sequence[Image.Image]):
    """Images by their paths, opened anew at every look; stands where a tuple of images does."""

    def __init__(self, paths: Sequence[Path], size: int | None = None) -> None:
        self.paths, self.size = tuple(paths), size

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Image.Image]: ...

    def __getitem__(self, index: int | slice) -> Image.Image | Sequence[Image.Image]:
        if isinstance(index, slice):
            return [open_image(path, self.size) for path in self.paths[index]]
        return open_image(self.paths[index], self.size)

    def __iter__(self) -> Iterator[Image.Image]:
        return (open_image(path, self.size) for path in self.paths)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, ImageFiles)
        return same and (self.paths, self.size) == (other.paths, other.size)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((self.paths, self.size))
