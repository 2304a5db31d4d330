"""The counting task: families, difficulty, and what is asked about a scene.

Example (family count_pair): "How many red things and how many balls?" -> "2 1".
"""

from __future__ import annotations

import random

from ekipl_lab.benchmarks.mini.counting import chains, check, skills
from ekipl_lab.benchmarks.mini.counting.query import Query, answer_of, question_text
from ekipl_lab.benchmarks.mini.counting.sampling import draw_free_scene, draw_scene
from ekipl_lab.benchmarks.mini.counting.scene import (
    ATTRIBUTES,
    NAMED,
    canonical,
    cell_labels,
    describe,
    render,
    scene_from_json,
    scene_to_json,
)
from ekipl_lab.benchmarks.mini.task import Draw, Drawn, Family, MiniTask, PatchLabels

_COMPARED = (
    "The final answer is which of the two there is more of (in the words of the question, "
    "singular, without the word things), how many, and how many more, such as: red 3 2. "
    "If there are as many of both: equal, how many of each, and 0."
)
_FAMILIES = (
    Family("count_pair", "study", "How many red things and how many balls?"),
    Family("count_two", "study", "How many large balls and how many red cubes?"),
    Family("count_three", "study", "How many red things, how many balls, how many small things?"),
    Family("remove", "study", "Remove red things. How many balls and how many small things?"),
    Family(
        "remove_two",
        "study",
        "Remove red things and balls. How many small things and how many cubes?",
    ),
    Family(
        "compare",
        "study",
        "More red things or balls? Say which, how many, how many more.",
        _COMPARED,
    ),
    Family("count_material", "study", "How many shiny things and how many cubes?"),
    Family(
        "remove_compare",
        "ground",
        "Remove red things. More balls or small things? Say which, how many, how many more.",
        _COMPARED,
    ),
    Family(
        "remove_material", "ground", "Remove shiny things. How many balls and how many red things?"
    ),
    Family(
        "compare_material",
        "ground",
        "More shiny things or cubes? Say which, how many, how many more.",
        _COMPARED,
    ),
    Family("count_one", "guessable", "How many red things?"),
    Family(
        "caption",
        "sub_skill",
        "List all things.",
        "The final answer lists cell, size, color and shape of every thing in the order of the "
        "cells, a space before each comma, such as: p2 large red ball , p7 small blue cube.",
    ),
    Family(
        "at",
        "sub_skill",
        "What is at p5?",
        "The final answer is size, color and shape of the thing, such as: large red ball; of an "
        "empty cell: none.",
    ),
    Family("material", "sub_skill", "Is p5 matte or shiny?", "The final answer is one word."),
    Family(
        "where",
        "sub_skill",
        "Where are red things?",
        "The final answer is the cells in order, separated by spaces, such as: p2 p7. "
        "If there are none: none.",
    ),
    Family(
        "match_text",
        "sub_skill",
        "large red ball, small blue cube: red?",
        "The final answer is yes or no for each thing, separated by spaces, such as: yes no no.",
        images=False,
    ),
    Family(
        "count_text",
        "sub_skill",
        "p2 large red ball, p7 small blue cube. How many red things and how many balls?",
        images=False,
    ),
)


def draw(rng: random.Random, wanted: Draw) -> Drawn:
    """A scene and a question of a family about it."""
    family = wanted.family
    if family in skills.FORMS:
        scene = draw_free_scene(rng, wanted)
        question, facts = skills.draw(rng, family, scene)
        answer, answer_type = skills.answer_of(scene, facts), "text"
    else:
        asked = "count_pair" if family == "count_text" else family
        scene, query = draw_scene(rng, asked, wanted)
        question, answer, facts = question_text(query), answer_of(scene, query), query.to_json()
        if family == "count_text":
            question = f"{describe(scene).replace(' ,', ',')}. {question}"
        answer_type = _answer_type(query)
    return Drawn(
        question, answer, answer_type, canonical(scene.things), scene_to_json(scene), facts
    )


def _answer_type(query: Query) -> str:
    if query.form == "compare":
        return "text"
    return "number" if len(query.count) == 1 else "numbers"


TASK = MiniTask(
    name="counting",
    families={family.name: family for family in _FAMILIES},
    image_size=56,
    rules=(
        "The things are cubes, balls and cones, each shiny or matte, and large (about a fifth of "
        "the picture wide) or small (about an eighth). They stand in a grid of 4 x 4 cells, p1 to "
        "p16, row by row from the top left. Removing two kinds takes away whatever is of either."
    ),
    draw=draw,
    render=lambda metadata, size: (render(scene_from_json(metadata["scene"]), size),),
    write=chains.write,
    check=check.check,
    shifts={"objects": 4, "pairs": None},
    scene_family=("caption", NAMED),
    patches=PatchLabels(
        tuple(map(len, ATTRIBUTES.values())),
        lambda metadata, grid: cell_labels(scene_from_json(metadata["scene"]))[None],
    ),
    with_backdrop=lambda metadata, size, backdrop: (
        render(scene_from_json(metadata["scene"]), size, backdrop),
    ),
)
