"""Pixels of a transformation pair: the same stage before and after."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ekipl_lab.benchmarks.mini.solids import CELL, gradient, paste, sprite, sprite_side
from ekipl_lab.benchmarks.mini.transformation.scene import GRID, Pair, Thing, shown_after

RGB = {
    "yellow": (246, 208, 30),
    "gray": (122, 124, 128),
    "cyan": (44, 200, 212),
    "blue": (40, 84, 222),
    "brown": (128, 74, 32),
    "green": (40, 160, 62),
    "red": (220, 42, 40),
    "purple": (152, 52, 190),
}
_SCALE = {"small": 0.52, "medium": 0.76, "large": 1.0}
_FINISH = {"rubber": "flat", "metal": "gloss", "glass": "clear"}
_BACKGROUNDS = (
    ((236, 236, 236), (220, 220, 220), 0),
    ((242, 240, 234), (224, 222, 216), 0),
    ((230, 234, 240), (212, 216, 224), 0),
    ((250, 250, 250), (234, 234, 234), 0),
)


def render(pair: Pair, size: int) -> tuple[Image.Image, Image.Image]:
    """The two RGB pictures, ``size`` x ``size`` pixels each."""
    return (
        _picture(pair.before, pair.background, size),
        _picture(shown_after(pair), pair.background, size),
    )


def _picture(things: Sequence[Thing], background: int, size: int) -> Image.Image:
    image = gradient(*_BACKGROUNDS[background], size).copy()
    side = sprite_side(size)
    for thing in sorted(things, key=lambda thing: thing.cell):
        row, column = divmod(thing.cell - 1, GRID)
        x = column * CELL + CELL // 2 + thing.dx
        y = row * CELL + CELL // 2 + thing.dy
        look = (thing.shape, RGB[thing.color], _SCALE[thing.size], _FINISH[thing.material])
        paste(image, sprite(*look, side), x, y)
    return image
