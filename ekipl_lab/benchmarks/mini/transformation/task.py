"""The transformation task: families, difficulty, and samples from keys.

Example: two pictures; "0 small red rubber cube, 1 large blue glass sphere. What changed?" ->
"change_color(0, blue), change_position(1, left)".

Difficulty is the number of things less one: 1 two things, 2 three, 3 four; it cycles with the
index. Out of domain the second picture is taken from the left or the right, and the question says
so; directions stay those of the first picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from ekipl_lab.benchmarks.base import MINI_VERSION, Family, MiniTask, SampleKey
from ekipl_lab.benchmarks.mini.transformation import skills
from ekipl_lab.benchmarks.mini.transformation.render import render
from ekipl_lab.benchmarks.mini.transformation.sampling import draw_pair
from ekipl_lab.benchmarks.mini.transformation.scene import (
    Pair,
    answer_text,
    calls_of,
    canonical,
    pair_from_json,
    pair_to_json,
)
from ekipl_lab.benchmarks.seeding import rng_for, scene_hash
from ekipl_lab.types import Sample

_EXAMPLE = "0 small red rubber cube, 1 large blue glass sphere. What changed?"
_ALL = (
    Family("change_look", "study", _EXAMPLE),
    Family("change_place", "study", _EXAMPLE),
    Family("change_two", "study", _EXAMPLE),
    Family("change_many", "study", _EXAMPLE),
    Family("change_back", "study", _EXAMPLE.replace("What", "Second picture before. What")),
    Family("caption", "sub_skill", "List both pictures."),
    Family("find", "sub_skill", "Where is small red rubber cube?"),
    Family(
        "compare_text",
        "sub_skill",
        "small red rubber cube, small blue rubber cube: what changed?",
        images=False,
    ),
    Family("step_text", "sub_skill", "p6 to p7?", images=False),
)
FAMILIES = {family.name: family for family in _ALL}


def difficulty_of(key: SampleKey) -> int:
    """The level (1..3) of a key, without drafting the sample."""
    return 1 + (key.index // (2 if key.split == "test_ood" else 1)) % 3


def _view(key: SampleKey) -> str:
    return ("left", "right")[key.index % 2] if key.split == "test_ood" else "same"


def question_of(pair: Pair, swapped: bool = False) -> str:
    """The question: the things before, the view if it is another, and what is asked.

    ``swapped``: the second picture is the one before the changes, and the question says so.
    """
    listed = ", ".join(f"{number} {thing.words}" for number, thing in enumerate(pair.before))
    view = "" if pair.view == "same" else f" Second picture from the {pair.view}."
    order = " Second picture before." if swapped else ""
    return f"{listed}.{view}{order} What changed?"


def draft(key: SampleKey) -> Sample:
    """The sample of a key, without its images."""
    rng = rng_for("mini", MINI_VERSION, key.task, key.split, key.seed, key.family, key.index)
    level = difficulty_of(key)
    family = key.family if FAMILIES[key.family].status == "study" else "change_two"
    pair = draw_pair(rng, family, level + 1, key.split, _view(key))
    swapped = key.family == "change_back"
    question, answer = question_of(pair, swapped), answer_text(calls_of(pair))
    facts: dict[str, Any] = {"form": "calls", **({"swapped": True} if swapped else {})}
    if family != key.family:
        question, facts = skills.draw(rng, key.family, pair)
        answer = skills.answer_of(pair, facts)
    metadata: dict[str, Any] = {
        "benchmark": "mini",
        "version": MINI_VERSION,
        "index": key.index,
        "seed": key.seed,
        "shift": "" if pair.view == "same" else pair.view,
        "scene_hash": scene_hash(canonical(pair)),
        "scene": pair_to_json(pair),
        "query": facts,
    }
    return Sample(
        id=str(key),
        task=key.task,
        split=key.split,
        images=(),
        question=question,
        answer=answer,
        answer_type="calls" if family == key.family else "text",
        family=key.family,
        difficulty=level,
        metadata=metadata,
    )


def render_images(metadata: Mapping[str, Any], size: int) -> tuple[Image.Image, ...]:
    """The two pictures of a transformation sample."""
    first, second = render(pair_from_json(metadata["scene"]), size)
    return (second, first) if metadata["query"].get("swapped") else (first, second)


TASK = MiniTask("transformation", FAMILIES, 56, draft, render_images, difficulty_of)
