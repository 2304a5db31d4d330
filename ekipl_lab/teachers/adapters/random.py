"""A teacher that knows nothing: well-formed completions with an answer drawn at random.

A control. Whatever it adds to training is not knowledge. Its answers come from a pool (for
instance all answers of the training split, ``pool_of``) or, without one, from the answer type.
It never looks at the ground truth of the sample it answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Literal, Self

from pydantic import model_validator

from ekipl_lab.errors import TeacherError
from ekipl_lab.parsing import TAGS
from ekipl_lab.teachers.adapters.text import TextTeacher
from ekipl_lab.teachers.spec import AnswerPool, TeacherContext, TeacherSpecBase
from ekipl_lab.types import Action, Sample

_CALL_VALUES = {
    "change_size": ("small", "medium", "large"),
    "change_color": ("yellow", "gray", "cyan", "blue", "brown", "green", "red", "purple"),
    "change_material": ("glass", "metal", "rubber"),
    "change_shape": ("cube", "sphere", "cylinder"),
    "change_position": ("front", "behind", "left", "right"),
}


class RandomSpec(TeacherSpecBase):
    """Guesses from ``answers``, else from the training split's answers, else by answer type."""

    type: Literal["random"] = "random"
    answers: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _answers_that_can_be_read(self) -> Self:
        for answer in self.answers:
            if not answer.strip() or any(tag in answer for tag in TAGS):
                raise ValueError(f"answers has {answer!r}, which no completion can hold")
        return self

    def build(self, context: TeacherContext) -> RandomTeacher:
        answers = self.answers
        pool = (lambda sample: answers) if answers else context.pool
        return RandomTeacher(self.id, pool=pool, seed=self.resolved_seed)


class RandomTeacher(TextTeacher):
    """See the module's docstring. ``pool(sample)`` gives the answers to draw from, evenly.

    TeacherError where there is nothing to draw.
    """

    def __init__(self, id: str, *, pool: AnswerPool | None = None, seed: int = 0) -> None:
        super().__init__(id, seed=seed)
        self._pool = pool

    def _act(self, sample: Sample, rng: random.Random) -> Action:
        answer = self._answer(sample, rng)
        text = f"<think>I guess {answer}.</think><answer>{answer}</answer>"
        return self._action(text, "random")

    def _answer(self, sample: Sample, rng: random.Random) -> str:
        if self._pool is not None:
            pool = self._pool(sample)
            if not pool:
                raise TeacherError(
                    f"Teacher {self.id!r}: the answer pool is empty for sample {sample.id}."
                )
            return pool[rng.randrange(len(pool))]
        draw = _DRAWS.get(sample.answer_type)
        if draw is None:
            raise TeacherError(
                f"Teacher {self.id!r}: answers of type {sample.answer_type!r} (sample "
                f"{sample.id}) need a pool; give `answers`."
            )
        return draw(sample, rng)


def pool_of(samples: Iterable[Sample]) -> AnswerPool:
    """All answers of the given samples, repeated as often as they occur, by task and family."""
    answers: dict[tuple[str, str], list[str]] = {}
    for sample in samples:
        answers.setdefault((sample.task, sample.family), []).append(sample.answer)
    return lambda sample: answers.get((sample.task, sample.family), [])


def _digit(rng: random.Random) -> str:
    return str(rng.randrange(10))


def _calls(rng: random.Random) -> str:
    functions = rng.sample(sorted(_CALL_VALUES), rng.randint(1, 4))
    return ", ".join(f"{f}({rng.randrange(4)}, {rng.choice(_CALL_VALUES[f])})" for f in functions)


#: Answer type -> an answer of its form.
_DRAWS: dict[str, Callable[[Sample, random.Random], str]] = {
    "letter": lambda sample, rng: chr(ord("A") + rng.randrange(len(sample.choices) or 4)),
    "number": lambda _, rng: _digit(rng),
    "numbers": lambda _, rng: ", ".join(_digit(rng) for _ in range(rng.randint(2, 3))),
    "calls": lambda _, rng: _calls(rng),
    "math": lambda _, rng: _digit(rng),
}
