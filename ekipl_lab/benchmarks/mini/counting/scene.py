"""Scenes of the counting task: a few solids on a 4 x 4 grid (``mini.grid``).

In-domain: 1 to 6 things, no held-out colour-shape pair, a light background. Out of domain: 7 or 8
things, or at least one held-out pair; always another background. The canonical text (and so the
split) leaves out jitter and background: no split holds another's scene merely nudged.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ekipl_lab.benchmarks.mini import grid, solids
from ekipl_lab.benchmarks.seeding import in_domain_split, scene_hash

#: Attribute kinds in the order in which words are said: "small red shiny ball".
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "size": ("small", "large"),
    "colour": ("red", "green", "blue", "yellow", "purple", "cyan"),
    "material": ("matte", "shiny"),
    "shape": ("cube", "ball", "cone"),
}
KIND_OF = {value: kind for kind, values in ATTRIBUTES.items() for value in values}
#: What is said of a thing where its material does not matter.
NAMED = ("size", "colour", "shape")
HELD_OUT_PAIRS = frozenset({("red", "cone"), ("blue", "cube"), ("yellow", "ball")})
MAX_IN_DOMAIN, MAX_THINGS = 6, 8
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

    @property
    def is_held_out(self) -> bool:
        """Whether its colour and shape are a pair that is kept out of domain."""
        return (self.colour, self.shape) in HELD_OUT_PAIRS

    def words(self, kinds: Collection[str] = NAMED) -> str:
        """Its values of some kinds, in speaking order: ``small red ball``."""
        pairs = zip(ATTRIBUTES, self.values, strict=True)
        return " ".join(value for kind, value in pairs if kind in kinds)


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
    looks = (Look(*values) for values in itertools.product(*ATTRIBUTES.values()))
    return tuple(look for look in looks if held_out or not look.is_held_out)


def canonical(things: tuple[Thing, ...]) -> str:
    """The text that is hashed: cell and look of every thing in raster order."""
    return "counting|" + "|".join(f"{thing.cell} {' '.join(thing.look.values)}" for thing in things)


def split_of(things: tuple[Thing, ...]) -> str:
    """The one split that this scene can be in."""
    if any(thing.look.is_held_out for thing in things) or len(things) > MAX_IN_DOMAIN:
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
    """Labels of every cell, shape (16, 4): size, colour, material, shape."""
    return grid.labels(((thing.cell, thing.look.values) for thing in scene.things), ATTRIBUTES)


def describe(scene: Scene) -> str:
    """The whole scene in raster order: ``p2 large red ball , p7 small blue cube``."""
    return " , ".join(f"p{thing.cell} {thing.look.words()}" for thing in scene.things)


_COLOURS = solids.COLOURS | {"yellow": (244, 204, 32)}
#: The first four are in-domain, the others are not.
_BACKDROPS: tuple[grid.Backdrop, ...] = (
    ((232, 232, 232), (214, 214, 214), 0),
    ((238, 236, 230), (218, 216, 210), 0),
    ((224, 228, 234), (204, 208, 216), 0),
    ((246, 246, 246), (228, 228, 228), 0),
    ((96, 88, 80), (70, 64, 58), 0),
    ((205, 188, 160), (176, 158, 130), 14),
    ((150, 158, 150), (120, 130, 122), 7),
)
_SCALE = {"large": 1.0, "small": 0.6}
_FINISH = {"matte": "flat", "shiny": "gloss"}


def render(scene: Scene, size: int, backdrop: grid.Backdrop | None = None) -> Image.Image:
    """The scene as an RGB image of ``size`` x ``size`` pixels, on its own background or another."""
    things = ((thing, _solid(thing.look)) for thing in scene.things)
    return grid.picture(backdrop or _BACKDROPS[scene.background], things, size)


def _solid(look: Look) -> grid.Solid:
    return look.shape, _COLOURS[look.colour], _SCALE[look.size], _FINISH[look.material]
