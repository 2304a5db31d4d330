"""Sample -> chat messages; what a task of the built-in benchmark says for itself is in its folder.

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

from ekipl_lab.benchmarks.choices import choice_lines
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.errors import DataError
from ekipl_lab.images import IMAGE_MARK
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
    "box": (
        "The final answer is one box as [left, top, right, bottom], in thousandths of the "
        "picture's width and height."
    ),
    "boxes": (
        "The final answer is a list of boxes, each [left, top, right, bottom], in thousandths of "
        "the picture's width and height, separated by commas."
    ),
    "point": (
        "The final answer is one point as [x, y], in thousandths of the picture's width and height."
    ),
    "math": "The final answer is one mathematical expression.",
}

BARE_BENCHMARKS = ("mini",)


def build_messages(sample: Sample) -> list[dict[str, Any]]:
    """One user turn, ``[{"role": "user", "content": [{"type": "image"}, {"type": "text", ...}]}]``:

    the form that chat templates of vision-language models take. Raises DataError as ``content_of``.
    """
    return [{"role": "user", "content": content_of(sample, prompt_text(sample))}]


def content_of(sample: Sample, text: str) -> list[dict[str, Any]]:
    """A text of the sample with its images, each where an ``<image>`` mark of the text names it.

    Without marks the images come first, in order. Raises DataError for another number of marks.
    """
    texts = text.split(IMAGE_MARK)
    marks, images = len(texts) - 1, len(sample.images)
    if marks not in (0, images):
        raise DataError(
            f"The prompt of sample {sample.id!r} names {marks} images by {IMAGE_MARK}, and there "
            f"are {images}; name each image once, or none."
        )
    head: list[dict[str, Any]] = [{"type": "image"} for _ in range(0 if marks else images)]
    parts = [part for one in texts for part in ({"type": "image"}, {"type": "text", "text": one})]
    return head + [part for part in parts[1:] if part.get("text") != ""]


def prompt_text(sample: Sample) -> str:
    """The text of the user turn."""
    own = sample.metadata.get("bare_prompt") is True
    bare = _benchmark(sample) in BARE_BENCHMARKS and sample.metadata.get("instructed") is not True
    return sample.question if own or bare else instructed_text(sample)


def instructed(sample: Sample, wanted: bool = True) -> Sample:
    """The sample for a stock model: the built-in benchmark is not asked bare. Its question stays.

    With ``wanted`` False the sample as a model is asked that was trained on the bare questions.
    """
    if (sample.metadata.get("instructed") is True) == wanted:
        return sample
    return replace(sample, metadata={**sample.metadata, "instructed": wanted})


def instructed_text(sample: Sample) -> str:
    """The question with its rules and the form of the answer, for models not trained on them."""
    rules = [TRANSFORMATION_RULES] if sample.answer_type == "calls" else []
    form = ANSWER_FORMS.get(sample.answer_type)
    if _benchmark(sample) == "mini" and sample.task in MINI_TASKS:
        task = MINI_TASKS[sample.task]
        rules.append(task.rules)
        family = task.families.get(sample.family)
        form = family.answer_form or form if family else form
    return "\n\n".join(
        [
            *rules,
            sample.question + choice_lines(sample.question, sample.choices),
            f"{_FORM} {form}" if form else _FORM,
        ]
    )


def prompt_fingerprint() -> str:
    """16 hex digits that change whenever any prompt text does."""
    rules = {name: task.rules for name, task in MINI_TASKS.items()}
    forms = [
        [name, family.name, family.answer_form]
        for name, task in MINI_TASKS.items()
        for family in task.families.values()
        if family.answer_form
    ]
    own = [BARE_BENCHMARKS, rules, forms]
    parts = [PROMPT_VERSION, _FORM, TRANSFORMATION_RULES, ANSWER_FORMS, *own]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _benchmark(sample: Sample) -> str:
    return sample.id.split("/", 1)[0]
