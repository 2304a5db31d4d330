"""The transformation task: families, difficulty, and what is asked about a pair of pictures.

Example: two pictures; "0 small red rubber cube, 1 large blue glass sphere. What changed?" ->
"change_color(0, blue), change_position(1, left)".
"""

from __future__ import annotations

import random
from typing import Any

from ekipl_lab.benchmarks.mini.task import Draw, Drawn, Family, MiniTask, PatchLabels
from ekipl_lab.benchmarks.mini.transformation import chains, check, skills
from ekipl_lab.benchmarks.mini.transformation.sampling import CHANGES, draw_pair
from ekipl_lab.benchmarks.mini.transformation.scene import (
    KINDS,
    VALUES,
    Pair,
    answer_text,
    calls_of,
    canonical,
    pair_from_json,
    pair_labels,
    pair_to_json,
    render,
)

_EXAMPLE = "0 small red rubber cube, 1 large blue glass sphere. What changed?"
_GROUND = ("change_five", "change_looks")
_UNDO = "Which change makes it as it was before?"
_FAMILIES = (
    *(
        Family(name, "ground" if name in _GROUND else "study", _EXAMPLE)
        for name in CHANGES
        if name != "change_undo"
    ),
    Family(
        "change_undo",
        "ground",
        f"0 small red rubber cube, 1 large blue glass sphere. {_UNDO}",
        "One thing has changed. The final answer is the function call that takes its change back, "
        "such as: change_color(1, red), if thing 1 was red before; a move is taken back by a move "
        "in the opposite direction.",
    ),
    Family(
        "caption",
        "sub_skill",
        "List both pictures.",
        "The final answer lists cell, size, color, material and shape of every thing in the order "
        "of the cells, first as before, then as after the changes, a space before each comma, "
        "such as: "
        "p2 small red metal cube , p7 large blue glass sphere then p3 small red metal cube , "
        "p7 large blue glass sphere.",
    ),
    Family(
        "find",
        "sub_skill",
        "Where is small red rubber cube?",
        "The question describes a thing as it is in the first picture. The final answer is its "
        "cell in the first and in the second picture, such as: p2 p3.",
    ),
    Family(
        "compare_text",
        "sub_skill",
        "small red rubber cube, small blue rubber cube: what changed?",
        "The final answer is what changed and its new value, such as: color red; of two changes: "
        "size small , color red. If nothing changed: same.",
        images=False,
    ),
    Family(
        "step_text",
        "sub_skill",
        "p6 to p7?",
        "The final answer is the direction of the move from the first cell to the second: front, "
        "behind, left, right, front_left, front_right, behind_left or behind_right; "
        "same if the cells are the same.",
        images=False,
    ),
)


def question_of(pair: Pair, asked: str = "What changed?") -> str:
    """The question: the things before, the view if it is another, and what is asked."""
    listed = ", ".join(f"{number} {thing.words}" for number, thing in enumerate(pair.before))
    return f"{listed}.{skills.view_of(pair)} {asked}"


def draw(rng: random.Random, wanted: Draw) -> Drawn:
    """A pair of pictures and a question of a family about it."""
    skill = wanted.family in skills.FORMS
    family = "change_two" if skill else wanted.family
    pair = draw_pair(rng, family, wanted.level + 1, wanted.split, wanted.shift or "same")
    undo = family == "change_undo"
    question = question_of(pair, _UNDO) if undo else question_of(pair)
    facts: dict[str, Any] = {"form": "undo" if undo else "calls"}
    answer = answer_text(skills.asked(pair.before, facts, calls_of(pair)))
    if skill:
        question, facts = skills.draw(rng, wanted.family, pair)
        answer = skills.answer_of(pair, facts)
    return Drawn(
        question, answer, "text" if skill else "calls", canonical(pair), pair_to_json(pair), facts
    )


TASK = MiniTask(
    name="transformation",
    families={family.name: family for family in _FAMILIES},
    image_size=56,
    rules=(
        "The things stand in a grid of 4 x 4 cells; in each picture its cells are p1 to p16, row "
        "by row from the top left. A move is to one of the eight neighbouring cells. Directions "
        "are those of the first picture: behind is towards its top, front towards its bottom. "
        "Second picture from the left (right): it is taken from that side, so that the left "
        "(right) edge of the first picture is at its bottom; its cells are counted as they stand "
        "in it."
    ),
    draw=draw,
    render=lambda metadata, size: render(pair_from_json(metadata["scene"]), size),
    write=chains.write,
    check=check.check,
    shifts={"left": None, "right": None},
    scene_family=("caption", KINDS),
    patches=PatchLabels(
        tuple(map(len, VALUES.values())),
        lambda metadata, grid: pair_labels(pair_from_json(metadata["scene"])),
    ),
)
