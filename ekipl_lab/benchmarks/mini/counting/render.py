"""Pixels of a counting scene: shaded solids with a soft shadow on a plain background."""

from __future__ import annotations

from PIL import Image

from ekipl_lab.benchmarks.mini.counting.scene import GRID, Scene
from ekipl_lab.benchmarks.mini.solids import CELL, gradient, paste, sprite, sprite_side

RGB = {
    "red": (220, 42, 40),
    "green": (40, 160, 62),
    "blue": (40, 84, 222),
    "yellow": (244, 204, 32),
    "purple": (152, 52, 190),
    "cyan": (44, 200, 212),
}
#: (top, bottom, stripe period) of a background, colours as 0 to 255.
Backdrop = tuple[tuple[int, int, int], tuple[int, int, int], int]
#: The first four are in-domain, the others are not.
_BACKGROUNDS: tuple[Backdrop, ...] = (
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


def render(scene: Scene, size: int, backdrop: Backdrop | None = None) -> Image.Image:
    """The scene as an RGB image of ``size`` x ``size`` pixels; lower things are in front.

    ``backdrop`` replaces the scene's own background (for training a sight that does not need it).
    """
    image = gradient(*(backdrop or _BACKGROUNDS[scene.background]), size).copy()
    side = sprite_side(size)
    for thing in scene.things:
        row, column = divmod(thing.cell - 1, GRID)
        x = column * CELL + CELL // 2 + thing.dx
        y = row * CELL + CELL // 2 + thing.dy
        look = thing.look
        finish = _FINISH[look.material]
        paste(image, sprite(look.shape, RGB[look.colour], _SCALE[look.size], finish, side), x, y)
    return image
