"""Images that are opened when they are looked at: 60,000 records do not fit in memory as pixels.

Each is decoded once as long as it is in use (`DECODED`), and its size is known without that.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, overload

from PIL import Image

from ekipl_lab.files import digest_of
from ekipl_lab.images import Picture, image_size, read_image, resized, resized_size
from ekipl_lab.types import Sample

#: The limit of the published Reason-RFT scripts, in pixels per image.
MAX_PIXELS = 480_000


class _Decoded:
    """The pictures looked at last, up to ``limit`` bytes of pixels: the one cache of decoded files.

    A step shows a picture to its group, its teachers and the loss; it is read once. A file that
    changed since (size or time of change) is read again. Pictures are shared: nobody draws on one.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self._bytes = limit, 0
        self._pictures: OrderedDict[Any, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def picture(self, key: Any, read: Callable[[], Picture]) -> Picture:
        """The picture under ``key``, read if it is not here."""
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        picture = read()
        with self._lock:
            if key not in self._pictures:
                self._pictures[key] = picture
                self._bytes += _bytes(picture)
            while self._bytes > self.limit:
                self._bytes -= _bytes(self._pictures.popitem(last=False)[1])
        return picture


def _bytes(picture: Picture) -> int:
    return 3 * picture.image.width * picture.image.height


#: Some 180 pictures of the most pixels allowed.
DECODED = _Decoded(256 * 2**20)


@dataclass(frozen=True)
class ImageFiles(Sequence[Image.Image]):
    """Images by path or bytes, decoded when they are looked at; stands where a tuple of images

    does. ``side`` bounds the long side. ``max_pixels`` None means MAX_PIXELS, or no bound where
    there is a ``side``; ``min_pixels`` None means that nothing is enlarged.
    """

    sources: tuple[Path | bytes, ...]
    side: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None

    def picture(self, index: int) -> Picture:
        """One image, with what was done to it; DataError for what is none."""
        source = self.sources[index]
        return DECODED.picture(
            (_version(source), *self._bounds.items()), lambda: self._read(source)
        )

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of every image, without reading a pixel; DataError for what is none."""
        found = [image_size(source) for source in self.sources]
        return tuple(resized_size(size, **self._bounds) or size for size in found)

    @property
    def _bounds(self) -> dict[str, int | None]:
        most = MAX_PIXELS if self.max_pixels is None and self.side is None else self.max_pixels
        return {"side": self.side, "min_pixels": self.min_pixels, "max_pixels": most}

    def _read(self, source: Path | bytes) -> Picture:
        read = read_image(source)
        image = resized(read.image, **self._bounds)
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


def _version(source: Path | bytes) -> Any:
    """What tells the content of a source from another: a path with its size and time of change."""
    if isinstance(source, bytes):
        return source
    try:
        found = source.stat()
    except OSError:
        return source  # read_image says what is wrong
    return source, found.st_size, found.st_mtime_ns


def picture_digests(sample: Sample) -> list[str]:
    """The SHA-256 of each file, or file's bytes, that a picture of the sample is read from."""
    sources = sample.images.sources if isinstance(sample.images, ImageFiles) else ()
    return [
        sha256(source).hexdigest() if isinstance(source, bytes) else digest_of(source)
        for source in sources
    ]


def sizes_of(sample: Sample) -> tuple[tuple[int, int], ...]:
    """Width and height of each image of a sample, of files without reading a pixel."""
    images: Any = sample.images
    if isinstance(images, ImageFiles):
        return images.sizes()
    return tuple(image.size for image in images)


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
