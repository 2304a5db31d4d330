"""Scenes of the counting task: a few solids on a 4 x 4 grid.

Cells are named p1..p16 in raster order (p1 top left, p4 top right, p16 bottom right). A thing's
centre is its cell's centre plus a jitter of whole units, 1 unit = 1/56 of the image side, so that
the same scene lands on whole pixels at 56, 112, 224 and 448 px; the centre never leaves the cell.

In-domain: 1 to 6 things, no held-out colour-shape pair, a light background. Out of domain: 7 or 8
things, or at least one held-out pair; always another background. The canonical text (and so the
split) leaves out jitter and background: no split holds another's scene merely nudged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ekipl_lab.benchmarks.seeding import in_domain_split, scene_hash

GRID = 4
CELLS = tuple(range(1, GRID * GRID + 1))
SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
MATERIALS = ("matte", "shiny")
SHAPES = ("cube", "ball", "cone")
#: Attribute kinds in the order in which words are said: "small red shiny ball".
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "size": SIZES,
    "colour": COLOURS,
    "material": MATERIALS,
    "shape": SHAPES,
}
KIND_OF = {value: kind for kind, values in ATTRIBUTES.items() for value in values}
HELD_OUT_PAIRS = frozenset({("red", "cone"), ("blue", "cube"), ("yellow", "ball")})
MAX_IN_DOMAIN, MAX_THINGS = 6, 8
JITTER = 2
BACKGROUNDS, OOD_BACKGROUNDS = (0, 1, 2, 3), (4, 5, 6)


@dataclass(frozen=True, slots=True)
class Look:
    """What a thing looks like, apart from its place."""

    size: str
    colour: str
    material: str
    shape: str

    @property
    def values(self) -> tuple[str, str, str, str]:
        """The four attribute values in the order of ATTRIBUTES."""
        return (self.size, self.colour, self.material, self.shape)


@dataclass(frozen=True, slots=True)
class Thing:
    """A look at a cell (1..16), jittered by whole units (1/56 of the image side)."""

    cell: int
    look: Look
    dx: int = 0
    dy: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """Things in raster order, and the number of the background."""

    things: tuple[Thing, ...]
    background: int = 0

    def at(self, cell: int) -> Look | None:
        """The look of the thing at a cell, None where the cell is empty."""
        return next((thing.look for thing in self.things if thing.cell == cell), None)


@lru_cache(maxsize=4)
def all_looks(held_out: bool) -> tuple[Look, ...]:
    """Every look; with ``held_out`` False without the held-out colour-shape pairs."""
    return tuple(
        Look(size, colour, material, shape)
        for size in SIZES
        for colour in COLOURS
        for material in MATERIALS
        for shape in SHAPES
        if held_out or (colour, shape) not in HELD_OUT_PAIRS
    )


def canonical(things: tuple[Thing, ...]) -> str:
    """The text that is hashed: cell and look of every thing in raster order."""
    return "counting|" + "|".join(f"{thing.cell} {' '.join(thing.look.values)}" for thing in things)


def split_of(things: tuple[Thing, ...]) -> str:
    """The one split that this scene can be in."""
    held_out = any((thing.look.colour, thing.look.shape) in HELD_OUT_PAIRS for thing in things)
    if held_out or len(things) > MAX_IN_DOMAIN:
        return "test_ood"
    return in_domain_split(scene_hash(canonical(things)))


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """The scene as JSON values, kept in ``Sample.metadata["scene"]``."""
    things = [
        {"cell": thing.cell, **dict(zip(ATTRIBUTES, thing.look.values, strict=True))}
        | {"dx": thing.dx, "dy": thing.dy}
        for thing in scene.things
    ]
    return {"things": things, "background": scene.background}


def scene_from_json(data: Mapping[str, Any]) -> Scene:
    """The inverse of ``scene_to_json``."""
    things = tuple(
        Thing(item["cell"], Look(*(item[kind] for kind in ATTRIBUTES)), item["dx"], item["dy"])
        for item in data["things"]
    )
    return Scene(things, data["background"])


def cell_labels(scene: Scene) -> npt.NDArray[np.int64]:
    """Dense labels for vision supervision, shape (16, 4): size, colour, material, shape per cell.

    Values index SIZES, COLOURS, MATERIALS and SHAPES; an empty cell is -1 throughout. Row k is cell
    p(k+1), which at 56 px is exactly image patch k of a 14-pixel patch grid.
    """
    labels = np.full((len(CELLS), len(ATTRIBUTES)), -1, dtype=np.int64)
    for thing in scene.things:
        for column, (kind, value) in enumerate(zip(ATTRIBUTES, thing.look.values, strict=True)):
            labels[thing.cell - 1, column] = ATTRIBUTES[kind].index(value)
    return labels


def describe(scene: Scene) -> str:
    """The whole scene in raster order: ``p2 large red ball , p7 small blue cube``."""
    return " , ".join(
        f"p{thing.cell} {thing.look.size} {thing.look.colour} {thing.look.shape}"
        for thing in scene.things
    )
