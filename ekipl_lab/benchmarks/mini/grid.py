"""Solids on a grid of 4 x 4 cells: how counting and transformation draw and label their scenes.

Cells are named p1 to p16 in raster order (p1 top left, p4 top right, p16 bottom right). A thing's
centre is its cell's centre plus a jitter of whole units, 1 unit = 1/56 of the image side, so that
the same scene lands on whole pixels at 56, 112, 224 and 448 px; the centre never leaves the cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from ekipl_lab.benchmarks.mini.solids import CELL, RGB, gradient, paste, sprite, sprite_side

GRID = 4
CELLS = tuple(range(1, GRID * GRID + 1))
#: The most units that a thing is off its cell's centre, each way.
JITTER = 2
#: (top, bottom, stripe period) of a background, colours as 0 to 255.
Backdrop = tuple[RGB, RGB, int]
#: (shape, colour, scale, finish) of a solid; see ``solids.sprite``.
Solid = tuple[str, RGB, float, str]


class Placed(Protocol):
    """A thing at a cell (1 to 16), jittered by whole units."""

    @property
    def cell(self) -> int: ...
    @property
    def dx(self) -> int: ...
    @property
    def dy(self) -> int: ...


def picture(backdrop: Backdrop, things: Iterable[tuple[Placed, Solid]], size: int) -> Image.Image:
    """An RGB image of ``size`` x ``size`` pixels; later things are in front."""
    image = gradient(*backdrop, size).copy()
    side = sprite_side(size)
    for thing, solid in things:
        row, column = divmod(thing.cell - 1, GRID)
        x, y = (at * CELL + CELL // 2 for at in (column, row))
        paste(image, sprite(*solid, side), x + thing.dx, y + thing.dy)
    return image


def labels(
    things: Iterable[tuple[int, Sequence[str]]], kinds: Mapping[str, Sequence[str]]
) -> npt.NDArray[np.int64]:
    """Dense labels for vision supervision, shape (16, K), of things given as (cell, K values).

    Values index those of their kind; an empty cell is -1 throughout. Row k is cell p(k+1), which at
    56 px is exactly image patch k of a 14-pixel patch grid.
    """
    found = np.full((len(CELLS), len(kinds)), -1, dtype=np.int64)
    for cell, values in things:
        pairs = zip(kinds.values(), values, strict=True)
        found[cell - 1] = [known.index(value) for known, value in pairs]
    return found
