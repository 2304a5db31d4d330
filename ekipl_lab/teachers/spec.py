"""What the configuration of every teacher has, and how a teacher is made of it.

A teacher is one file: a spec, which is the model of its settings, and what the spec builds. One
line in `build.TEACHERS` gives it a ``type``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import Field, ValidationError

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.teachers.draws import stable_int
from ekipl_lab.types import ActionSource, Sample
from ekipl_lab.validation import Section, Seed, complaint

#: The answers that a random teacher draws from for a sample.
AnswerPool = Callable[[Sample], Sequence[str]]
#: How a teacher's action may have ended: by itself, or cut off.
FINISH_REASONS = ("stop", "length")


class ChainWriter(Protocol):
    """Writes one whole completion, tags included, for a sample whose scene it knows."""

    def __call__(self, sample: Sample, *, style: str, fault: str, rng: random.Random) -> str:
        """``fault`` is none, wrong_answer or wrong_chain; all chance comes from ``rng``."""
        ...


@dataclass(frozen=True, slots=True)
class TeacherContext:
    """What a run gives its teachers: the benchmark's chain writer and its styles, for oracles, and
    the answers of the training split, for random teachers."""

    writer: ChainWriter | None = None
    styles: Sequence[str] = ()
    pool: AnswerPool | None = None


class TeacherSpecBase(Section):
    """An id, k actions per prompt, a seed (default: made from the id)."""

    type: str = ""
    id: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    actions: int = Field(default=1, ge=1, le=10**4)
    seed: Seed | None = None

    @property
    def resolved_seed(self) -> int:
        """``seed``, or one made from the id, so that two teachers do not err together."""
        return stable_int(self.id) % 2**31 if self.seed is None else self.seed

    @property
    def may_give_logprobs(self) -> bool:
        """Whether its actions may bring log-probabilities of their tokens."""
        return False

    def build(self, context: TeacherContext) -> ActionSource:
        """The teacher; ConfigError where something that it needs is missing."""
        raise NotImplementedError

    def check(self, context: TeacherContext) -> None:
        """Raise what `build` would, but load no weights."""
        self.build(context)

    def fingerprint(self) -> str:
        """A hash of the files that decide its actions; empty if it reads none."""
        return ""


Spec = TypeVar("Spec", bound=TeacherSpecBase)


def checked_spec(model: type[Spec], raw: Mapping[str, Any], kind: str) -> Spec:
    """Settings as a ``model``; ConfigError that names the first wrong one.

    An unknown setting of a teacher of type ``kind`` is refused with the nearest name.
    """
    if model.model_config.get("extra") != "allow":
        for name in raw:
            if name not in model.model_fields:
                known = list(model.model_fields)
                raise unknown_name(f"setting of a teacher of type {kind!r}:", str(name), known)
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "settings"
        name = raw.get("id", "without id")
        raise ConfigError(f"Teacher {name!r}: {complaint(first, field)}.") from error
