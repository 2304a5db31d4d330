"""Images that are opened when they are looked at: 60,000 records do not fit in memory as pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from PIL import Image

from ekipl_lab.images import Picture, read_image, resized
from ekipl_lab.types import Sample

#: The limit of the published Reason-RFT scripts, in pixels per image.
MAX_PIXELS = 480_000


@dataclass(frozen=True)
class ImageFiles(Sequence[Image.Image]):
    """Images by path or bytes, decoded anew at every look; stands where a tuple of images does.

    ``side`` bounds the long side. ``max_pixels`` None means MAX_PIXELS, or no bound where there is
    a ``side``; ``min_pixels`` None means that nothing is enlarged.
    """

    sources: tuple[Path | bytes, ...]
    side: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None

    def picture(self, index: int) -> Picture:
        """One image, with what was done to it; DataError for what is none."""
        read = read_image(self.sources[index])
        most = MAX_PIXELS if self.max_pixels is None and self.side is None else self.max_pixels
        image = resized(read.image, side=self.side, min_pixels=self.min_pixels, max_pixels=most)
        if image is read.image:
            return read
        before, after = (f"{one.width} x {one.height}" for one in (read.image, image))
        verb = "shrunk" if image.width <= read.image.width else "enlarged"
        return Picture(image, (*read.notes, f"{verb} from {before} to {after} pixels"))

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Image.Image]: ...

    def __getitem__(self, index: int | slice) -> Image.Image | Sequence[Image.Image]:
        if isinstance(index, slice):
            return [self.picture(at).image for at in range(len(self))[index]]
        return self.picture(index).image

    def __iter__(self) -> Iterator[Image.Image]:
        return (self.picture(at).image for at in range(len(self)))


def with_pixels(sample: Sample, min_pixels: int | None, max_pixels: int | None) -> Sample:
    """The sample with each image of so many pixels; None, None: as it is."""
    if min_pixels is None and max_pixels is None:
        return sample
    images: Any = sample.images
    if isinstance(images, ImageFiles):
        images = replace(images, min_pixels=min_pixels, max_pixels=max_pixels)
    else:
        images = tuple(
            resized(image, min_pixels=min_pixels, max_pixels=max_pixels) for image in images
        )
    return replace(sample, images=images)
