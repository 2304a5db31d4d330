"""Pixels of a counting scene: shaded solids with a soft shadow, anti-aliased, at any size.

A sprite (shape, colour, size, material) is drawn once per image size on a supersampled grid and
averaged with integer sums, then pasted. Only correctly rounded operations are used (no libm powers
or trigonometry), so pixels do not depend on the machine. Shiny things have a white highlight and
strong shading; matte ones are flat.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ekipl_lab.benchmarks.counting.scene import GRID, Look, Scene

#: The image side in scene units; a cell is 14 units, a sprite box 16 x 16 units.
UNITS, CELL, BOX = 56, 14, 16
RGB = {
    "red": (220, 42, 40),
    "green": (40, 160, 62),
    "blue": (40, 84, 222),
    "yellow": (244, 204, 32),
    "purple": (152, 52, 190),
    "cyan": (44, 200, 212),
}
#: (top, bottom, stripe) grey or tinted colours; the first four are in-domain, the others are not.
_BACKGROUNDS = (
    ((232, 232, 232), (214, 214, 214), 0),
    ((238, 236, 230), (218, 216, 210), 0),
    ((224, 228, 234), (204, 208, 216), 0),
    ((246, 246, 246), (228, 228, 228), 0),
    ((96, 88, 80), (70, 64, 58), 0),
    ((205, 188, 160), (176, 158, 130), 14),
    ((150, 158, 150), (120, 130, 122), 7),
)
_Array = npt.NDArray[np.floating[Any]]


def _ball(x: _Array, y: _Array, shiny: bool) -> tuple[_Array, _Array, _Array]:
    square = (x * x + y * y) / 36.0
    z = np.sqrt(np.maximum(0.0, 1.0 - square))
    diffuse = np.maximum(0.0, -0.42 * x / 6.0 - 0.52 * y / 6.0 + 0.74 * z)
    spot = 1.0 - ((x + 1.9) * (x + 1.9) + (y + 2.2) * (y + 2.2)) / 3.6
    light = 0.42 + 0.68 * diffuse if shiny else 0.74 + 0.28 * diffuse
    return (square <= 1.0) * 1.0, light, np.clip(1.6 * spot, 0.0, 1.0)


def _cube(x: _Array, y: _Array, shiny: bool) -> tuple[_Array, _Array, _Array]:
    depth = 2.6
    front = (x >= -5.4) & (x <= 2.8) & (y >= -2.8) & (y <= 5.4)
    slant = np.clip(-2.8 - y, 0.0, depth)
    top = (y < -2.8) & (y >= -2.8 - depth) & (x >= -5.4 + slant) & (x <= 2.8 + slant)
    across = np.clip(x - 2.8, 0.0, depth)
    side = (x > 2.8) & (x <= 2.8 + depth) & (y >= -2.8 - across) & (y <= 5.4 - across)
    dark = 0.55 if shiny else 0.62
    light = 0.92 * front + 1.22 * top + dark * side
    streak = front & (x + 0.5 * y >= -3.4) & (x + 0.5 * y <= -1.2)
    return (front | top | side) * 1.0, light, streak * 0.95


def _cone(x: _Array, y: _Array, shiny: bool) -> tuple[_Array, _Array, _Array]:
    half = np.maximum((y + 6.4) * (5.6 / 10.6), 1e-9)
    body = (y >= -6.4) & (y <= 4.2) & (np.abs(x) <= half)
    base = (x * x) / 31.4 + ((y - 4.2) * (y - 4.2)) / 2.9 <= 1.0
    across = np.clip(x / half, -1.0, 1.0)
    light = 0.88 - (0.42 if shiny else 0.22) * across
    streak = body & (across >= -0.62) & (across <= -0.12) & (y > -3.8) & (y < 3.6)
    return (body | base) * 1.0, light, streak * 0.95


_SOLIDS = {"ball": _ball, "cube": _cube, "cone": _cone}
_SCALE = {"large": 1.0, "small": 0.6}


def _grid(side: int, oversample: int) -> tuple[_Array, _Array]:
    """Sample points of a sprite of ``side`` pixels in units from its centre, shape (n, n) each."""
    count = side * oversample
    axis = (np.arange(count) + 0.5) * (BOX / count) - BOX / 2
    x, y = np.meshgrid(axis, axis)
    return x, y


@lru_cache(maxsize=4096)
def sprite(look: Look, side: int) -> tuple[Image.Image, Image.Image]:
    """The colours (RGB) and coverage (L) of a thing, both ``side`` x ``side`` pixels."""
    oversample = 8 if side <= 40 else 4
    x, y = _grid(side, oversample)
    scale = _SCALE[look.size]
    x, y = x / scale, y / scale
    shiny = look.material == "shiny"
    solid, light, highlight = _SOLIDS[look.shape](x, y, shiny)
    shadow = ((x - 0.6) ** 2 / 42.0 + (y - 5.4) ** 2 / 3.2 <= 1.0) * 0.30
    alpha = np.where(solid > 0, 1.0, shadow)
    gloss = highlight * (0.92 if shiny else 0.0)
    weight = np.rint(alpha * 255).astype(np.int64)
    channels = []
    for base in RGB[look.colour]:
        lit = np.clip(base * light, 0.0, 255.0)
        value = np.where(solid > 0, lit + (255.0 - lit) * gloss, 30.0)
        channels.append(np.rint(value).astype(np.int64) * weight)
    total = _pool(weight, oversample)
    safe = np.maximum(total, 1)
    colours = np.stack([_pool(channel, oversample) // safe for channel in channels], axis=-1)
    coverage = total // (oversample * oversample)
    return (
        Image.fromarray(colours.astype(np.uint8)),
        Image.fromarray(coverage.astype(np.uint8)),
    )


def _pool(values: npt.NDArray[np.int64], factor: int) -> npt.NDArray[np.int64]:
    """Sum of every ``factor`` x ``factor`` block, exact because it is integer."""
    side = values.shape[0] // factor
    blocks = values.reshape(side, factor, side, factor)
    return np.asarray(blocks.sum(axis=(1, 3)), dtype=np.int64)


@lru_cache(maxsize=64)
def background(number: int, size: int) -> Image.Image:
    """A vertical gradient, with stripes of the given period (units) where it has them."""
    top, bottom, period = _BACKGROUNDS[number]
    rows = np.arange(size)[:, None, None]
    start, end = np.array(top), np.array(bottom)
    pixels = start + (end - start) * rows // max(1, size - 1)
    pixels = np.repeat(pixels, size, axis=1)
    if period:
        place = (np.arange(size)[None, :] + np.arange(size)[:, None]) * UNITS // size
        pixels = pixels - 14 * ((place // period) % 2)[:, :, None]
    return Image.fromarray(pixels.astype(np.uint8))


def render(scene: Scene, size: int) -> Image.Image:
    """The scene as an RGB image of ``size`` x ``size`` pixels; lower things are in front."""
    image = background(scene.background, size).copy()
    side = (BOX * size + UNITS - 1) // UNITS
    for thing in scene.things:
        row, column = divmod(thing.cell - 1, GRID)
        x = (column * CELL + CELL // 2 + thing.dx) * size
        y = (row * CELL + CELL // 2 + thing.dy) * size
        colours, coverage = sprite(thing.look, side)
        corner = ((2 * x - side * UNITS) // (2 * UNITS), (2 * y - side * UNITS) // (2 * UNITS))
        image.paste(colours, corner, coverage)
    return image
