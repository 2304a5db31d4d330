"""Images that are opened when they are looked at: 60,000 records do not fit in memory as pixels."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from PIL import Image

from ekipl_lab.errors import DataError

#: The limit of the published Reason-RFT scripts, in pixels per image.
MAX_PIXELS = 480_000


def open_image(source: Path | bytes, size: int | None = None) -> Image.Image:
    """The RGB image of a file or its bytes, its long side at most ``size``, or MAX_PIXELS pixels.

    Never enlarged; the sides keep their ratio. Raises DataError for what is no image.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        name = "in the table" if isinstance(source, bytes) else source
        raise DataError(f"Image {name} cannot be read ({error}); replace it.") from error
    if size is None:
        factor = math.sqrt(MAX_PIXELS / (image.width * image.height))
    else:
        factor = size / max(image.size)
    if factor >= 1.0:
        return image
    shape = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
    return image.resize(shape, Image.Resampling.BICUBIC)


class ImageFiles(Sequence[Image.Image]):
    """Images by path or bytes, decoded anew at every look; stands where a tuple of images does."""

    def __init__(self, sources: Sequence[Path | bytes], size: int | None = None) -> None:
        self.sources, self.size = tuple(sources), size

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Image.Image]: ...

    def __getitem__(self, index: int | slice) -> Image.Image | Sequence[Image.Image]:
        if isinstance(index, slice):
            return [open_image(source, self.size) for source in self.sources[index]]
        return open_image(self.sources[index], self.size)

    def __iter__(self) -> Iterator[Image.Image]:
        return (open_image(source, self.size) for source in self.sources)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImageFiles):
            return False
        return (self.sources, self.size) == (other.sources, other.size)

    def __hash__(self) -> int:
        return hash((self.sources, self.size))
