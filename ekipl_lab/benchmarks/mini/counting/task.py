"""The counting task: families, difficulty, and samples from keys.

Example (family count_pair): "How many red things and how many balls?" -> "2 1".

Difficulty is the level of the scene: 1 up to four large things, 2 two to five of both sizes, 3 four
to six; out of domain also 4, seven or eight. It cycles with the index: every prefix is balanced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from ekipl_lab.benchmarks.base import MINI_VERSION, Family, MiniTask, SampleKey
from ekipl_lab.benchmarks.mini.counting import skills
from ekipl_lab.benchmarks.mini.counting.query import Query, answer_of, question_text
from ekipl_lab.benchmarks.mini.counting.render import render
from ekipl_lab.benchmarks.mini.counting.sampling import LEVELS, draw_free_scene, draw_scene
from ekipl_lab.benchmarks.mini.counting.scene import (
    canonical,
    describe,
    scene_from_json,
    scene_to_json,
)
from ekipl_lab.benchmarks.seeding import rng_for, scene_hash
from ekipl_lab.types import Sample

_ALL = (
    Family("count_pair", "study", "How many red things and how many balls?"),
    Family("count_two", "study", "How many large balls and how many red cubes?"),
    Family("count_three", "study", "How many red things, how many balls, how many small things?"),
    Family("remove", "study", "Remove red things. How many balls and how many small things?"),
    Family(
        "remove_two",
        "study",
        "Remove red things and balls. How many small things and how many cubes?",
    ),
    Family("compare", "study", "More red things or balls? Say which, how many, how many more."),
    Family("count_material", "study", "How many shiny things and how many cubes?"),
    Family(
        "remove_compare",
        "study",
        "Remove red things. More balls or small things? Say which, how many, how many more.",
    ),
    Family(
        "remove_material",
        "study",
        "Remove shiny things. How many balls and how many red things?",
    ),
    Family(
        "compare_material",
        "study",
        "More shiny things or cubes? Say which, how many, how many more.",
    ),
    Family("count_one", "guessable", "How many red things?"),
    Family("caption", "sub_skill", "List all things."),
    Family("at", "sub_skill", "What is at p5?"),
    Family("material", "sub_skill", "Is p5 matte or shiny?"),
    Family("where", "sub_skill", "Where are red things?"),
    Family("match_text", "sub_skill", "large red ball, small blue cube: red?", images=False),
    Family(
        "count_text",
        "sub_skill",
        "p2 large red ball, p7 small blue cube. How many red things and how many balls?",
        images=False,
    ),
)
FAMILIES = {family.name: family for family in _ALL}


def difficulty_of(key: SampleKey) -> int:
    """The level (1..4) of a key, without building the sample."""
    if key.split == "test_ood" and key.index % 2 == 0:
        return 4
    return 1 + (key.index // (2 if key.split == "test_ood" else 1)) % 3


def _shift(key: SampleKey) -> str:
    """What is out of domain: more things, or held-out colour-shape pairs."""
    if key.split != "test_ood":
        return ""
    return "objects" if key.index % 2 == 0 else "pairs"


def draft(key: SampleKey) -> Sample:
    """The sample of a key, without its image."""
    rng = rng_for("mini", MINI_VERSION, key.task, key.split, key.seed, key.family, key.index)
    level = LEVELS[difficulty_of(key)]
    facts: dict[str, Any]
    if key.family in skills.FORMS:
        scene = draw_free_scene(rng, level, key.split, _shift(key))
        question, facts = skills.draw(rng, key.family, scene)
        answer, answer_type = skills.answer_of(scene, facts), "text"
    else:
        wanted = "count_pair" if key.family == "count_text" else key.family
        scene, query = draw_scene(rng, wanted, level, key.split, _shift(key))
        question, answer, facts = question_text(query), answer_of(scene, query), query.to_json()
        if key.family == "count_text":
            question = f"{describe(scene).replace(' ,', ',')}. {question}"
        answer_type = _answer_type(query)
    metadata = {
        "benchmark": "mini",
        "version": MINI_VERSION,
        "index": key.index,
        "seed": key.seed,
        "shift": _shift(key),
        "scene_hash": scene_hash(canonical(scene.things)),
        "scene": scene_to_json(scene),
        "query": facts,
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
        difficulty=difficulty_of(key),
        metadata=metadata,
    )


def _answer_type(query: Query) -> str:
    if query.form == "compare":
        return "text"
    return "number" if len(query.count) == 1 else "numbers"


def render_images(metadata: Mapping[str, Any], size: int) -> tuple[Image.Image, ...]:
    """The one image of a counting sample."""
    return (render(scene_from_json(metadata["scene"]), size),)


TASK = MiniTask("counting", FAMILIES, 56, draft, render_images, difficulty_of)
