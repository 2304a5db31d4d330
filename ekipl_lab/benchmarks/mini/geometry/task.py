"""The geometry task: families, difficulty, and what is asked about a figure.

Example (family triangle): a triangle with the labels 50° and 60° and a red x; "Find angle x." ->
"70". Figures are not to scale, so only the labels tell.
"""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

from ekipl_lab.benchmarks.mini.geometry import chains, check
from ekipl_lab.benchmarks.mini.geometry.chains import LETTERS, truth_of
from ekipl_lab.benchmarks.mini.geometry.figure import (
    UNITS,
    Figure,
    canonical,
    figure_from_json,
    figure_to_json,
    reading_order,
)
from ekipl_lab.benchmarks.mini.geometry.render import render
from ekipl_lab.benchmarks.mini.geometry.sampling import draw as draw_figure
from ekipl_lab.benchmarks.mini.task import (
    Draw,
    Drawn,
    Family,
    Metadata,
    MiniTask,
    PatchLabels,
)

_FAMILIES = (
    Family("triangle", "study", "Find angle x."),
    Family("line", "study", "Find angle x."),
    Family("pythagoras", "study", "Find length x."),
    Family("area", "study", "Find the area and the perimeter."),
    Family("angle_twice", "ground", "Find two times angle x."),
    Family("angle_half", "ground", "Find half of angle x."),
    Family("pythagoras_area", "ground", "Find length x and the area."),
    Family("angle_choice", "guessable", "Find angle x. A 40 B 60 C 70 D 80"),
    Family(
        "read",
        "sub_skill",
        "Read the labels.",
        "The final answer is all labels, without degree signs, from left to right by their "
        "middles, separated by spaces, such as: 30 x 70.",
    ),
    Family("arith", "sub_skill", "180 - 110?", images=False),
    Family("solve_text", "sub_skill", "triangle : 50 , 60. Find angle x.", images=False),
)
_FIGURES = ("triangle", "line", "pythagoras", "area")
_QUESTIONS = {
    "angle": "Find angle x.",
    "twice": "Find two times angle x.",
    "half": "Find half of angle x.",
    "hypotenuse": "Find length x.",
    "leg": "Find length x.",
    "leg_area": "Find length x and the area.",
    "area": "Find the area and the perimeter.",
}
#: Labels of patches are three characters, right-aligned: a digit, x, or none.
_CHARACTERS = "0123456789x "


def answer_of(figure: Figure) -> str:
    """The exact answer: one integer, or two in the order of the question."""
    return " ".join(map(str, truth_of(figure).results))


def question_of(figure: Figure) -> str:
    """The question that a figure is asked with."""
    return _QUESTIONS[figure.asked]


def draw(rng: random.Random, wanted: Draw) -> Drawn:
    """A figure and a question of a family about it."""
    family = wanted.family
    if family == "angle_choice":
        family = rng.choice(("triangle", "line"))
    elif family in ("read", "arith", "solve_text"):
        family = rng.choice(_FIGURES)
    figure = draw_figure(rng, family, wanted)
    question, answer, answer_type, choices = _asked(wanted.family, figure, rng)
    facts = {"form": wanted.family}
    scene = figure_to_json(figure)
    return Drawn(question, answer, answer_type, canonical(figure), scene, facts, choices)


def _asked(
    family: str, figure: Figure, rng: random.Random
) -> tuple[str, str, str, tuple[str, ...]]:
    """Question, answer, answer type and choices of a family about a figure."""
    if family == "read":
        labels = " ".join(label.text for label in reading_order(figure))
        return "Read the labels.", labels, "text", ()
    if family == "arith":
        left, sign, right, result = rng.choice(truth_of(figure).done)
        text = f"root {left}?" if sign == "root" else f"{left} {sign} {right}?"
        return text, str(result), "number", ()
    question, answer = question_of(figure), answer_of(figure)
    if family == "solve_text":
        kind = figure.kind.replace("_", " ")
        given = " , ".join(map(str, figure.values))
        role = f" {figure.asked}" if figure.asked in ("leg", "hypotenuse") else ""
        question = f"{kind}{role} : {given}. {question}"
    if family == "angle_choice":
        choices = _choices(int(answer), rng)
        listed = " ".join(map(" ".join, zip(LETTERS, choices, strict=True)))
        return f"{question} {listed}", LETTERS[choices.index(answer)], "letter", choices
    return question, answer, "numbers" if " " in answer else "number", ()


def _choices(answer: int, rng: random.Random) -> tuple[str, ...]:
    """Four evenly spaced positive values in random order; the answer has any rank among them.

    The rank is drawn first, so that "the one in the middle" is no better than another. All are
    multiples of the coarsest of 10, 5 and 1 that divides the answer, so that they look alike.
    """
    step = next(step for step in (10, 5, 1) if answer % step == 0)
    gap = step * rng.choice((1, 2))
    rank = rng.randrange(4)
    while answer - rank * gap <= 0:
        gap, rank = step, rng.randrange(4)
    values = [answer + (place - rank) * gap for place in range(4)]
    rng.shuffle(values)
    return tuple(map(str, values))


def label_places(metadata: Metadata) -> list[tuple[str, float, float]]:
    """(text, x, y) of every label from left to right; x and y are shares of the image side."""
    figure = figure_from_json(metadata["scene"])
    side = UNITS * 10
    return [(label.text, label.x / side, label.y / side) for label in reading_order(figure)]


def _patch_labels(metadata: Metadata, grid: tuple[int, int]) -> npt.NDArray[np.int64]:
    """The label (up to three digits, or x) whose centre lies in a patch, shape (1, P, 3)."""
    rows, columns = grid
    labels = np.full((1, rows * columns, 3), -1, dtype=np.int64)
    for text, x, y in label_places(metadata):
        patch = min(rows - 1, int(y * rows)) * columns + min(columns - 1, int(x * columns))
        labels[0, patch] = [_CHARACTERS.index(character) for character in text.rjust(3)]
    return labels


TASK = MiniTask(
    name="geometry",
    families={family.name: family for family in _FAMILIES},
    image_size=84,
    rules=(
        "The figure is not to scale: only its labels tell the values. A red x, where there is "
        "one, marks the unknown. Where lengths are given, opposite sides of a figure with four "
        "sides are parallel."
    ),
    draw=draw,
    render=lambda metadata, size: (render(figure_from_json(metadata["scene"]), size),),
    write=chains.write,
    check=check.check,
    shifts=dict.fromkeys(("turned", "values", "figure")),
    scene_family=("read", ()),
    patches=PatchLabels((len(_CHARACTERS),) * 3, _patch_labels),
)
