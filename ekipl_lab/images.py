"""One way from a file to the RGB picture that a model sees, and what was done to it on the way.

- A photo is turned as its EXIF orientation says.
- Transparency is laid on white, as a browser shows it.
- Pixels of more than 8 bits are stretched from the image's own range to 0..255; floating-point
  pixels between 0 and 1 are multiplied by 255.
- Of colours with 16 bits Pillow keeps the upper 8.
- Of several frames (an animation, a multi-page TIFF) the first is taken.

``read_image`` says each of these in words, for `ekipl data check`.
"""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ekipl_lab.errors import DataError

#: Pillow's modes with more than 8 bits a pixel.
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")

#: What a TIFF says of its pixels: how 0 looks (0: white), and their type (1: whole, not negative;
#: 2: whole).
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339

#: EXIF's tag of how a picture lies: 1 upright, 2 to 8 turned or mirrored.
_ORIENTATION = 0x0112

#: Where a question names a picture; the pictures stand there in the order of the sample.
IMAGE_MARK = "<image>"


@dataclass(frozen=True, slots=True)
class Picture:
    """An RGB image, and in words what was done to the file's pixels."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def read_image(source: Path | bytes) -> Picture:
    """The picture in a file, or in a file's bytes.

    Raises:
        DataError: it is no image, it is cut off or too large, or a pixel is not a number.
    """
    name = "in the table" if isinstance(source, bytes) else str(source)
    try:
        with _opened(source) as opened:
            return to_rgb(opened)
    except Exception as error:  # Pillow's decoders raise whatever they meet
        raise _unreadable(name, error) from error


def image_size(source: Path | bytes) -> tuple[int, int]:
    """Width and height of the picture of `read_image`, from the file's head: no pixel is read.

    Raises DataError for what is no image; one that is cut off is found when it is read.
    """
    name = "in the table" if isinstance(source, bytes) else str(source)
    try:
        with _opened(source) as opened:
            turned = opened.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            turned = turned and opened.format != "TIFF"  # whose size Pillow gives as it is shown
            return (opened.height, opened.width) if turned else opened.size
    except Exception as error:  # Pillow's decoders raise whatever they meet
        raise _unreadable(name, error) from error


def _opened(source: Path | bytes) -> Image.Image:
    """The file, opened without Pillow's warning of many pixels: `to_rgb` says it in its own way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def _unreadable(name: str, error: Exception) -> DataError:
    said = "no known format" if isinstance(error, UnidentifiedImageError) else error
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return DataError(f"Image {name} has more than {most:,} pixels; make it smaller.")
    return DataError(f"Image {name} cannot be read ({said}); replace it.")


def to_rgb(image: Image.Image) -> Picture:
    """Any Pillow image as RGB; ValueError if a pixel is not a finite number."""
    notes = ["colours of 16 bits cut to 8"] if _cut_to_8_bits(image) else []
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        notes.append(f"large ({image.width} x {image.height} pixels)")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        image.seek(0)
        notes.append(f"the first of {frames} frames")
    if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
        notes.append("turned as its EXIF orientation says")
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    transparent = image.info.get("transparency")
    upright = ImageOps.exif_transpose(image)
    signed = upright.mode == "L" and tags.get(_SAMPLE_FORMAT) == (2,)
    if upright.mode in _DEEP or signed:
        notes.append("stretched from its own range of values")
        values = np.asarray(upright)
        if signed:  # which Pillow reads as from 0 to 255
            values = values.view(np.int8)
        if upright.mode == "I" and tags.get(_SAMPLE_FORMAT, (1,)) == (1,) and tags:
            values = values.view(np.uint32)  # which Pillow reads as signed
        grey = _eight_bits(values, share=upright.mode == "F")
        if tags.get(_PHOTOMETRIC) == 0:
            grey = 255 - grey
        if isinstance(transparent, int) and (values == transparent).any():
            notes.append("transparent parts on white")
            grey = np.where(values == transparent, 255, grey)
        return Picture(Image.fromarray(grey.astype(np.uint8)).convert("RGB"), tuple(notes))
    if upright.has_transparency_data:
        colours = upright.convert("RGBA")
        if np.asarray(colours)[..., 3].min() < 255:
            notes.append("transparent parts on white")
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        return Picture(Image.alpha_composite(white, colours).convert("RGB"), tuple(notes))
    return Picture(upright.convert("RGB"), tuple(notes))


def single_colour(image: Image.Image) -> bool:
    """Whether an RGB image shows one colour and nothing else."""
    pixels = np.asarray(image)
    return bool((pixels == pixels[0, 0]).all())


def resized(
    image: Image.Image,
    *,
    side: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> Image.Image:
    """The image with its long side at most ``side``, and so many pixels at least and at most.

    Enlarged for ``min_pixels`` alone; the sides keep their ratio, and none falls below 1 pixel.
    """
    shape = resized_size(image.size, side=side, min_pixels=min_pixels, max_pixels=max_pixels)
    return image if shape is None else image.resize(shape, Image.Resampling.BICUBIC)


def resized_size(
    size: tuple[int, int],
    *,
    side: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> tuple[int, int] | None:
    """Width and height that `resized` gives an image of ``size``; None where it stays as it is."""
    width, height = size
    pixels = width * height
    factor = 1.0 if side is None else min(1.0, side / max(size))
    if max_pixels is not None:
        factor = min(factor, math.sqrt(max_pixels / pixels))
    if min_pixels is not None:
        factor = max(factor, math.sqrt(min_pixels / pixels))
    if factor == 1.0:
        return None
    whole = int if factor < 1.0 else math.ceil
    return max(1, whole(width * factor)), max(1, whole(height * factor))


def pixel_parts(images: Iterable[Image.Image]) -> Iterator[bytes]:
    """Mode and size, then the pixels, of each image: what a digest of images is made of."""
    for image in images:
        yield f"{image.mode}{image.size}".encode()
        yield image.tobytes()


def png_base64(image: Image.Image) -> str:
    """An image as an RGB PNG in base64."""
    buffer = io.BytesIO()
    to_rgb(image).image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def png_uri(image: Image.Image) -> str:
    """An image as a data URI, for HTML, so that no file is served."""
    return f"data:image/png;base64,{png_base64(image)}"


def _cut_to_8_bits(image: Image.Image) -> bool:
    """Whether Pillow will cut samples of 16 bits, as the raw modes of its tiles say until it has
    loaded them."""
    if image.mode in _DEEP:
        return False
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _eight_bits(pixels: np.ndarray, *, share: bool) -> np.ndarray:
    """Grey from 0 to 255 of integers with more than 8 bits, or floats; ``share``: floats from 0 to
    1 are a share of white."""
    values = pixels.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds pixels that are not finite numbers")
    low, high = float(values.min()), float(values.max())
    if share and low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    elif low == high:  # one value only: there is no range of its own
        low, high = 0.0, max(high, 65535.0)
    return np.rint((values - low) * (255.0 / (high - low)))
