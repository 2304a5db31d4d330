"""The transformation task: families, difficulty, and samples from keys.

Example: two pictures; "0 small red rubber cube, 1 large blue glass sphere. What changed?" ->
"change_color(0, blue), change_position(1, left)".

Difficulty is the number of things less one: 1 two things, 2 three, 3 four; it cycles with the
index. Out of domain the second picture is taken from the left or the right, and the question says
so; directions stay those of the first picture.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from PIL import Image

from ekipl_lab.benchmarks.base import MINI_VERSION, Family, MiniTask, SampleKey
from ekipl_lab.benchmarks.seeding import rng_for, scene_hash
from ekipl_lab.benchmarks.transformation.render import render
from ekipl_lab.benchmarks.transformation.sampling import draw_pair
from ekipl_lab.benchmarks.transformation.scene import (
    KINDS,
    Pair,
    Thing,
    answer_text,
    calls_of,
    canonical,
    direction,
    pair_from_json,
    pair_to_json,
    shown_after,
)
from ekipl_lab.types import Sample

_EXAMPLE = "0 small red rubber cube, 1 large blue glass sphere. What changed?"
_ALL = (
    Family("change_look", "study", _EXAMPLE),
    Family("change_place", "study", _EXAMPLE),
    Family("change_two", "study", _EXAMPLE),
    Family("change_many", "study", _EXAMPLE),
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


def question_of(pair: Pair) -> str:
    """The question: the things before, the view if it is another, and what is asked."""
    listed = ", ".join(f"{number} {thing.words}" for number, thing in enumerate(pair.before))
    view = "" if pair.view == "same" else f" Second picture from the {pair.view}."
    return f"{listed}.{view} What changed?"


def draft(key: SampleKey) -> Sample:
    """The sample of a key, without its images."""
    rng = rng_for("mini", MINI_VERSION, key.task, key.split, key.seed, key.family, key.index)
    level = difficulty_of(key)
    family = key.family if FAMILIES[key.family].status == "study" else "change_two"
    pair = draw_pair(rng, family, level + 1, key.split, _view(key))
    question, answer = question_of(pair), answer_text(calls_of(pair))
    if family != key.family:
        question, answer = _SKILLS[key.family](rng, pair)
    metadata: dict[str, Any] = {
        "benchmark": "mini",
        "version": MINI_VERSION,
        "index": key.index,
        "seed": key.seed,
        "shift": "" if pair.view == "same" else pair.view,
        "scene_hash": scene_hash(canonical(pair)),
        "scene": pair_to_json(pair),
        "query": {"form": "calls" if family == key.family else key.family},
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


def describe(things: tuple[Thing, ...]) -> str:
    """Things of one picture in raster order: ``p2 small red rubber cube , p7 ...``."""
    ordered = sorted(things, key=lambda thing: thing.cell)
    return " , ".join(f"p{thing.cell} {thing.words}" for thing in ordered)


def _caption(rng: random.Random, pair: Pair) -> tuple[str, str]:
    return "List both pictures.", f"{describe(pair.before)} then {describe(shown_after(pair))}"


def _find(rng: random.Random, pair: Pair) -> tuple[str, str]:
    """Cells of one thing in both pictures; it is described as it is before."""
    number = rng.randrange(len(pair.before))
    cells = pair.before[number].cell, shown_after(pair)[number].cell
    view = "" if pair.view == "same" else f" Second picture from the {pair.view}."
    return f"Where is {pair.before[number].words}?{view}", f"p{cells[0]} p{cells[1]}"


def _compare_text(rng: random.Random, pair: Pair) -> tuple[str, str]:
    number = rng.randrange(len(pair.before))
    before, after = pair.before[number], pair.after[number]
    kinds = [kind for kind in KINDS if getattr(before, kind) != getattr(after, kind)]
    answer = " , ".join(f"{kind} {getattr(after, kind)}" for kind in kinds) or "same"
    return f"{before.words}, {after.words}: what changed?", answer


def _step_text(rng: random.Random, pair: Pair) -> tuple[str, str]:
    start = rng.randint(1, 16)
    ends = [cell for cell in range(1, 17) if direction(start, cell) is not None]
    end = rng.choice(ends)
    return f"p{start} to p{end}?", direction(start, end) or "same"


_SKILLS = {
    "caption": _caption,
    "find": _find,
    "compare_text": _compare_text,
    "step_text": _step_text,
}


def render_images(metadata: Mapping[str, Any], size: int) -> tuple[Image.Image, ...]:
    """The two pictures of a transformation sample."""
    return render(pair_from_json(metadata["scene"]), size)


TASK = MiniTask("transformation", FAMILIES, 56, draft, render_images, difficulty_of)
