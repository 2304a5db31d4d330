"""The geometry task: families, difficulty, and samples from keys.

Example (family triangle): a triangle with the labels 50° and 60° and a red x; "Find angle x." ->
"70". Figures are not to scale, so only the labels tell.

Difficulty: 1 multiples of 10, one-digit sides, small triples; 2 multiples of 5, three sectors,
sides to 20; 3 any whole degrees, right triangles' area and perimeter, large triples. It cycles with
the index. Out of domain (a third each): turned or mirrored figures, other values, unseen figures.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from PIL import Image

from ekipl_lab.benchmarks.base import MINI_VERSION, Family, MiniTask, SampleKey
from ekipl_lab.benchmarks.mini.geometry.figure import (
    UNITS,
    Figure,
    canonical,
    figure_from_json,
    figure_to_json,
    reading_order,
)
from ekipl_lab.benchmarks.mini.geometry.plans import answers, plan_for, run
from ekipl_lab.benchmarks.mini.geometry.render import render
from ekipl_lab.benchmarks.mini.geometry.sampling import SHIFTS, draw
from ekipl_lab.benchmarks.seeding import rng_for, scene_hash
from ekipl_lab.types import Sample

_ALL = (
    Family("triangle", "study", "Find angle x."),
    Family("line", "study", "Find angle x."),
    Family("pythagoras", "study", "Find length x."),
    Family("area", "study", "Find the area and the perimeter."),
    Family("angle_choice", "guessable", "Find angle x. A 40 B 60 C 70 D 80"),
    Family("read", "sub_skill", "Read the labels."),
    Family("arith", "sub_skill", "180 - 110?", images=False),
    Family("solve_text", "sub_skill", "triangle : 50 , 60. Find angle x.", images=False),
)
FAMILIES = {family.name: family for family in _ALL}
_FIGURES = ("triangle", "line", "pythagoras", "area")
LETTERS = "ABCD"


def difficulty_of(key: SampleKey) -> int:
    """The level (1..3) of a key, without drafting the sample."""
    return 1 + (key.index // (3 if key.split == "test_ood" else 1)) % 3


def _shift(key: SampleKey) -> str:
    return SHIFTS[key.index % 3] if key.split == "test_ood" else ""


def answer_of(figure: Figure) -> str:
    """The exact answer: one integer, or area and perimeter."""
    plan = plan_for(figure.kind, len(figure.values), figure.asked)
    return " ".join(map(str, answers(plan, run(plan, figure.values))))


def question_of(figure: Figure) -> str:
    """The question that a figure is asked with."""
    if figure.asked == "area":
        return "Find the area and the perimeter."
    return "Find angle x." if figure.asked == "angle" else "Find length x."


def draft(key: SampleKey) -> Sample:
    """The sample of a key, without its image."""
    rng = rng_for("mini", MINI_VERSION, key.task, key.split, key.seed, key.family, key.index)
    family = key.family
    if family == "angle_choice":
        family = rng.choice(("triangle", "line"))
    elif family in ("read", "arith", "solve_text"):
        family = rng.choice(_FIGURES)
    figure = draw(rng, family, difficulty_of(key), key.split, _shift(key))
    question, answer, answer_type, choices = _asked(key.family, figure, rng)
    metadata: dict[str, Any] = {
        "benchmark": "mini",
        "version": MINI_VERSION,
        "index": key.index,
        "seed": key.seed,
        "shift": _shift(key),
        "scene_hash": scene_hash(canonical(figure)),
        "scene": figure_to_json(figure),
        "query": {"form": key.family},
    }
    return Sample(
        id=str(key),
        task=key.task,
        split=key.split,
        images=(),
        question=question,
        answer=answer,
        answer_type=answer_type,
        family=key.family,
        choices=choices,
        difficulty=difficulty_of(key),
        metadata=metadata,
    )


def _asked(
    family: str, figure: Figure, rng: random.Random
) -> tuple[str, str, str, tuple[str, ...]]:
    """Question, answer, answer type and choices of a family about a figure."""
    if family == "read":
        labels = " ".join(label.text for label in reading_order(figure))
        return "Read the labels.", labels, "text", ()
    if family == "arith":
        plan = plan_for(figure.kind, len(figure.values), figure.asked)
        left, sign, right, result = rng.choice(run(plan, figure.values))
        text = f"root {left}?" if sign == "root" else f"{left} {sign} {right}?"
        return text, str(result), "number", ()
    question, answer = question_of(figure), answer_of(figure)
    if family == "solve_text":
        kind = figure.kind.replace("_", " ")
        given = " , ".join(map(str, figure.values))
        role = f" {figure.asked}" if figure.asked in ("leg", "hypotenuse") else ""
        question = f"{kind}{role} : {given}. {question}"
    if family == "angle_choice":
        choices = _choices(int(answer), difficulty_step(answer), rng)
        listed = " ".join(
            f"{letter} {value}" for letter, value in zip(LETTERS, choices, strict=True)
        )
        return f"{question} {listed}", LETTERS[choices.index(answer)], "letter", choices
    return question, answer, "numbers" if " " in answer else "number", ()


def difficulty_step(answer: str) -> int:
    """The coarsest of 10, 5 and 1 that divides the answer, so that wrong choices look alike."""
    return next(step for step in (10, 5, 1) if int(answer) % step == 0)


def _choices(answer: int, step: int, rng: random.Random) -> tuple[str, ...]:
    """Four evenly spaced positive values in random order; the answer has any rank among them.

    The rank is drawn first, so that "the one in the middle" is no better than another.
    """
    gap = step * rng.choice((1, 2))
    rank = rng.randrange(4)
    while answer - rank * gap <= 0:
        gap, rank = step, rng.randrange(4)
    values = [answer + (place - rank) * gap for place in range(4)]
    rng.shuffle(values)
    return tuple(map(str, values))


def label_places(metadata: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """(text, x, y) of every label from left to right; x and y are shares of the image side.

    For dense supervision of the vision tower; the digits are ``height / (10 * 84)`` of the side.
    """
    figure = figure_from_json(metadata["scene"])
    side = UNITS * 10
    return [(label.text, label.x / side, label.y / side) for label in reading_order(figure)]


def render_images(metadata: Mapping[str, Any], size: int) -> tuple[Image.Image, ...]:
    """The one image of a geometry sample."""
    return (render(figure_from_json(metadata["scene"]), size),)


TASK = MiniTask("geometry", FAMILIES, 84, draft, render_images, difficulty_of)
