"""Sample -> chat messages: the only home of prompt text.

The built-in benchmark asks its bare question, since the tiny policy is trained on exactly that; so
does data of your own with a prompt of its own (``metadata["bare_prompt"]``). Every other benchmark
gets an instruction by answer type; so does the built-in one, with what its pictures mean, for
models that were not trained on it (``instructed``). No template reads ``answer``, ``cot`` or
anything else of ``metadata``: the ground truth never enters a prompt.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from ekipl_lab.types import Sample

#: Raise it with every change of wording: caches and records of actions are keyed by it.
PROMPT_VERSION = "2"

_FORM = (
    "First write your reasoning inside <think> </think> tags, then the final answer alone inside "
    "<answer> </answer> tags."
)

TRANSFORMATION_RULES = """\
You see two images of one scene: the first before, the second after some changes. \
Every object has a number; the question lists the objects as they are before the changes. \
Each change is one function call, func(object_number, value). The functions and their values are:
- change_size: small, medium, large
- change_color: yellow, gray, cyan, blue, brown, green, red, purple
- change_material: glass, metal, rubber
- change_shape: cube, sphere, cylinder
- change_position: front, behind, left, right, front_left, front_right, behind_left, behind_right
The answer is a sequence of 1 to 4 such calls, separated by commas."""

#: What the answer block must hold, by ``Sample.answer_type``.
ANSWER_FORMS = {
    "number": "The final answer is one number.",
    "numbers": "The final answer is a list of whole numbers separated by commas.",
    "letter": "The final answer is the letter of the right choice, and nothing else.",
    "text": "The final answer is a word or a short phrase.",
    "calls": (
        "The final answer is the sequence of function calls, such as: "
        "change_color(1, green), change_position(0, front_left)."
    ),
    "math": "The final answer is one mathematical expression.",
}

BARE_BENCHMARKS = ("mini",)

#: What the pictures of the built-in benchmark mean, by task.
MINI_RULES = {
    "counting": (
        "The things are cubes, balls and cones, each shiny or matte, and large (about a fifth of "
        "the picture wide) or small (about an eighth). They stand in a grid of 4 x 4 cells, p1 to "
        "p16, row by row from the top left. Removing two kinds takes away whatever is of either."
    ),
    "geometry": (
        "The figure is not to scale: only its labels tell the values. A red x, where there is "
        "one, marks the unknown. Where lengths are given, opposite sides of a figure with four "
        "sides are parallel."
    ),
    "transformation": (
        "The things stand in a grid of 4 x 4 cells; in each picture its cells are p1 to p16, row "
        "by row from the top left. A move is to one of the eight neighbouring cells. Directions "
        "are those of the first picture: behind is towards its top, front towards its bottom. "
        "Second picture from the left (right): it is taken from that side, so that the left "
        "(right) edge of the first picture is at its bottom; its cells are counted as they stand "
        "in it."
    ),
}

#: The form of the built-in benchmark's textual answers, by task and family.
MINI_FORMS = {
    ("counting", "compare"): (
        "The final answer is which of the two there is more of (in the words of the question, "
        "singular, without the word things), how many, and how many more, such as: red 3 2. "
        "If there are as many of both: equal, how many of each, and 0."
    ),
    ("counting", "caption"): (
        "The final answer lists cell, size, color and shape of every thing in the order of the "
        "cells, a space before each comma, such as: p2 large red ball , p7 small blue cube."
    ),
    ("counting", "at"): (
        "The final answer is size, color and shape of the thing, such as: large red ball; of an "
        "empty cell: none."
    ),
    ("counting", "material"): "The final answer is one word.",
    ("counting", "where"): (
        "The final answer is the cells in order, separated by spaces, such as: p2 p7. "
        "If there are none: none."
    ),
    ("counting", "match_text"): (
        "The final answer is yes or no for each thing, separated by spaces, such as: yes no no."
    ),
    ("geometry", "read"): (
        "The final answer is all labels, without degree signs, from left to right by their "
        "middles, separated by spaces, such as: 30 x 70."
    ),
    ("transformation", "caption"): (
        "The final answer lists cell, size, color, material and shape of every thing in the order "
        "of the cells, first as before, then as after the changes, a space before each comma, "
        "such as: "
        "p2 small red metal cube , p7 large blue glass sphere then p3 small red metal cube , "
        "p7 large blue glass sphere."
    ),
    ("transformation", "find"): (
        "The question describes a thing as it is in the first picture. The final answer is its "
        "cell in the first and in the second picture, such as: p2 p3."
    ),
    ("transformation", "compare_text"): (
        "The final answer is what changed and its new value, such as: color red; of two changes: "
        "size small , color red. If nothing changed: same."
    ),
    ("transformation", "step_text"): (
        "The final answer is the direction of the move from the first cell to the second: front, "
        "behind, left, right, front_left, front_right, behind_left or behind_right; "
        "same if the cells are the same."
    ),
}


def build_messages(sample: Sample) -> list[dict[str, Any]]:
    """One user turn: the images in order, then the text.

    Returns ``[{"role": "user", "content": [{"type": "image"} x n, {"type": "text", ...}]}]``,
    the form that chat templates of vision-language models take.
    """
    content: list[dict[str, Any]] = [{"type": "image"} for _ in sample.images]
    content.append({"type": "text", "text": prompt_text(sample)})
    return [{"role": "user", "content": content}]


def prompt_text(sample: Sample) -> str:
    """The text of the user turn."""
    own = sample.metadata.get("bare_prompt") is True
    bare = _benchmark(sample) in BARE_BENCHMARKS and sample.metadata.get("instructed") is not True
    return sample.question if own or bare else instructed_text(sample)


def instructed(sample: Sample, told: bool = True) -> Sample:
    """The sample for a stock model: the built-in benchmark is not asked bare. Its question stays.

    With ``told`` False the sample as a model is asked that was trained on the bare questions.
    """
    if (sample.metadata.get("instructed") is True) == told:
        return sample
    return replace(sample, metadata={**sample.metadata, "instructed": told})


def instructed_text(sample: Sample) -> str:
    """The question with its rules and the form of the answer, for models that need to be told."""
    rules = [TRANSFORMATION_RULES] if sample.answer_type == "calls" else []
    form = ANSWER_FORMS.get(sample.answer_type)
    if _benchmark(sample) == "mini":
        rules += [MINI_RULES[sample.task]] if sample.task in MINI_RULES else []
        form = MINI_FORMS.get((sample.task, sample.family), form)
    return "\n\n".join(
        [*rules, sample.question + _choices(sample), f"{_FORM} {form}" if form else _FORM]
    )


def prompt_fingerprint() -> str:
    """16 hex digits that change whenever any prompt text of this module does."""
    forms = [[*key, form] for key, form in MINI_FORMS.items()]
    own = [BARE_BENCHMARKS, MINI_RULES, forms]
    parts = [PROMPT_VERSION, _FORM, TRANSFORMATION_RULES, ANSWER_FORMS, *own]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _benchmark(sample: Sample) -> str:
    return sample.id.split("/", 1)[0]


def _choices(sample: Sample) -> str:
    """The choices as lettered lines, unless the question already shows all of them."""
    if not sample.choices or all(choice in sample.question for choice in sample.choices):
        return ""
    lines = [f"{chr(ord('A') + index)}. {choice}" for index, choice in enumerate(sample.choices)]
    return "\n" + "\n".join(lines)
