"""Shaded solids as sprites: anti-aliased, at any size, equal on every machine.

A sprite is drawn on a supersampled grid and averaged with integer sums. Only correctly rounded
operations are used (no libm powers or trigonometry), so pixels do not depend on the machine.
Finishes: ``flat`` (matte, rubber) has soft shading, ``gloss`` (shiny, metal) strong shading and a
white highlight, ``clear`` (glass) is see-through with a bright rim and a small highlight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

#: The image side in scene units; a cell is 14 units, a sprite box 16 x 16 units.
UNITS, CELL, BOX = 56, 14, 16
Array = npt.NDArray[np.floating[Any]]
RGB = tuple[int, int, int]
COLOURS: dict[str, RGB] = {
    "red": (220, 42, 40),
    "green": (40, 160, 62),
    "blue": (40, 84, 222),
    "purple": (152, 52, 190),
    "cyan": (44, 200, 212),
}
#: Returns (inside 0/1, light factor, highlight 0..1, nearness to the rim 0..1).
_Solid = Callable[[Array, Array, bool], tuple[Array, Array, Array, Array]]


def _ball(x: Array, y: Array, gloss: bool) -> tuple[Array, Array, Array, Array]:
    square = (x * x + y * y) / 36.0
    z = np.sqrt(np.maximum(0.0, 1.0 - square))
    diffuse = np.maximum(0.0, -0.42 * x / 6.0 - 0.52 * y / 6.0 + 0.74 * z)
    spot = 1.0 - ((x + 1.9) * (x + 1.9) + (y + 2.2) * (y + 2.2)) / 3.6
    light = 0.42 + 0.68 * diffuse if gloss else 0.74 + 0.28 * diffuse
    return (square <= 1.0) * 1.0, light, np.clip(1.6 * spot, 0.0, 1.0), (square >= 0.74) * 1.0


def _cube(x: Array, y: Array, gloss: bool) -> tuple[Array, Array, Array, Array]:
    depth = 2.6
    front = (x >= -5.4) & (x <= 2.8) & (y >= -2.8) & (y <= 5.4)
    slant = np.clip(-2.8 - y, 0.0, depth)
    top = (y < -2.8) & (y >= -2.8 - depth) & (x >= -5.4 + slant) & (x <= 2.8 + slant)
    across = np.clip(x - 2.8, 0.0, depth)
    side = (x > 2.8) & (x <= 2.8 + depth) & (y >= -2.8 - across) & (y <= 5.4 - across)
    light = 0.92 * front + 1.22 * top + (0.55 if gloss else 0.62) * side
    streak = front & (x + 0.5 * y >= -3.4) & (x + 0.5 * y <= -1.2)
    core = (x >= -4.7) & (x <= 2.1) & (y >= -2.1) & (y <= 4.7)
    return (front | top | side) * 1.0, light, streak * 0.95, (~core) * 1.0


def _cone(x: Array, y: Array, gloss: bool) -> tuple[Array, Array, Array, Array]:
    half = np.maximum((y + 6.4) * (5.6 / 10.6), 1e-9)
    body = (y >= -6.4) & (y <= 4.2) & (np.abs(x) <= half)
    base = (x * x) / 31.4 + ((y - 4.2) * (y - 4.2)) / 2.9 <= 1.0
    across = np.clip(x / half, -1.0, 1.0)
    light = 0.88 - (0.42 if gloss else 0.22) * across
    streak = body & (across >= -0.62) & (across <= -0.12) & (y > -3.8) & (y < 3.6)
    return (body | base) * 1.0, light, streak * 0.95, (np.abs(across) >= 0.8) * 1.0


def _cylinder(x: Array, y: Array, gloss: bool) -> tuple[Array, Array, Array, Array]:
    across = np.clip(x / 4.4, -1.0, 1.0)
    inside = np.abs(x) <= 4.4
    lid = (x * x) / 19.36 + ((y + 4.4) * (y + 4.4)) / 2.6 <= 1.0
    foot = (x * x) / 19.36 + ((y - 4.2) * (y - 4.2)) / 2.6 <= 1.0
    body = inside & (y >= -4.4) & (y <= 4.2)
    light = np.where(lid, 1.25, 0.86 - (0.40 if gloss else 0.20) * across)
    streak = body & ~lid & (across >= -0.66) & (across <= -0.22) & (y < 3.8)
    rim = (np.abs(across) >= 0.82) | lid
    return (body | lid | foot) * 1.0, light, streak * 0.95, rim * 1.0


_SOLIDS: dict[str, _Solid] = {
    "ball": _ball,
    "sphere": _ball,
    "cube": _cube,
    "cone": _cone,
    "cylinder": _cylinder,
}


def _grid(side: int, oversample: int) -> tuple[Array, Array]:
    """Sample points of a sprite of ``side`` pixels in units from its centre: x of shape (1, n), y
    of shape (n, 1)."""
    count = side * oversample
    axis = (np.arange(count) + 0.5) * (BOX / count) - BOX / 2
    return axis[None, :], axis[:, None]


def _pool(values: npt.NDArray[np.int32], factor: int) -> npt.NDArray[np.int32]:
    """Sum of every ``factor`` x ``factor`` block, exact because it is integer."""
    side = values.shape[0] // factor
    rows = values.reshape(side, factor, side * factor).sum(axis=1, dtype=np.int32)
    return np.asarray(rows.reshape(side, side, factor).sum(axis=2, dtype=np.int32))


@lru_cache(maxsize=4096)
def sprite(
    shape: str, rgb: RGB, scale: float, finish: str, side: int
) -> tuple[Image.Image, Image.Image]:
    """The colours (RGB) and coverage (L) of a solid on a box of ``side`` x ``side`` pixels."""
    oversample = 8 if side <= 40 else 4
    x, y = _grid(side, oversample)
    x, y = x / scale, y / scale
    gloss = finish != "flat"
    solid, light, highlight, rim = _SOLIDS[shape](x, y, gloss)
    shadow = ((x - 0.6) ** 2 / 42.0 + (y - 5.4) ** 2 / 3.2 <= 1.0) * 0.30
    body = np.where(rim > 0, 0.95, 0.42) if finish == "clear" else 1.0
    if finish == "clear":
        body = np.maximum(body, highlight)
        light = np.where(rim > 0, light, 1.15)
    alpha = np.where(solid > 0, body, shadow)
    white = highlight * (0.92 if gloss else 0.0)
    weight = np.rint(alpha * 255).astype(np.int32)
    inside = np.broadcast_to(solid > 0, weight.shape)
    light, white = (np.broadcast_to(one, weight.shape)[inside] for one in (light, white))
    covered = weight[inside]
    channels = []
    for base in rgb:
        lit = np.clip(base * light, 0.0, 255.0)
        channel = 30 * weight
        channel[inside] = np.rint(lit + (255.0 - lit) * white).astype(np.int32) * covered
        channels.append(channel)
    total = _pool(weight, oversample)
    safe = np.maximum(total, 1)
    colours = np.stack([_pool(channel, oversample) // safe for channel in channels], axis=-1)
    coverage = total // (oversample * oversample)
    return (
        Image.fromarray(colours.astype(np.uint8)),
        Image.fromarray(coverage.astype(np.uint8)),
    )


def paste(image: Image.Image, sprites: tuple[Image.Image, Image.Image], x: int, y: int) -> None:
    """Pastes a sprite with its centre at (x, y) units into a square image."""
    colours, coverage = sprites
    size, side = image.width, colours.width
    corner = tuple((2 * at * size - side * UNITS) // (2 * UNITS) for at in (x, y))
    image.paste(colours, (corner[0], corner[1]), coverage)


def sprite_side(size: int) -> int:
    """Pixels of a sprite's box in an image of ``size`` pixels."""
    return (BOX * size + UNITS - 1) // UNITS


@lru_cache(maxsize=64)
def gradient(top: RGB, bottom: RGB, stripes: int, size: int) -> Image.Image:
    """A vertical gradient, with darker diagonal stripes of the given period (units; 0: none)."""
    rows = np.arange(size)[:, None, None]
    start, end = np.array(top), np.array(bottom)
    pixels = start + (end - start) * rows // max(1, size - 1)
    pixels = np.repeat(pixels, size, axis=1)
    if stripes:
        place = (np.arange(size)[None, :] + np.arange(size)[:, None]) * UNITS // size
        pixels = pixels - 14 * ((place // stripes) % 2)[:, :, None]
    return Image.fromarray(pixels.astype(np.uint8))
