"""Teachers from their configuration: one registry of types.

Example (YAML)::

    teachers:
      - {type: oracle, id: careful, accuracy: 0.9}
      - {type: oracle, id: sloppy, accuracy: 0.6, fault_mode: wrong_chain, actions: 2}
      - {type: random, id: guesser}
      - {type: replay, id: recorded, path: recordings/gpt.jsonl}
      - {type: policy, id: bigger, path: assets/policies/bigger}
      - {type: openai, id: gpt, model: gpt-4o, gateway: {budget: {usd: 5}}}
      - {type: python, id: mine, class: "my_teacher.py:MyTeacher"}
      - {type: ensemble, id: panel, each: 2, members: [{type: local, id: big, path: big-vlm}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.teachers.adapters.anthropic import AnthropicSpec
from ekipl_lab.teachers.adapters.gemini import GeminiSpec
from ekipl_lab.teachers.adapters.local import LocalSpec, PolicySpec
from ekipl_lab.teachers.adapters.openai_compatible import OpenAISpec
from ekipl_lab.teachers.adapters.oracle import OracleSpec
from ekipl_lab.teachers.adapters.python import PythonSpec
from ekipl_lab.teachers.adapters.random import RandomSpec
from ekipl_lab.teachers.adapters.replay import ReplaySpec
from ekipl_lab.teachers.ensemble import EnsembleTeacher
from ekipl_lab.teachers.spec import (
    AnswerPool,
    ChainWriter,
    TeacherContext,
    TeacherSpecBase,
    checked_spec,
)
from ekipl_lab.types import KEPT, POLICY, ActionSource


def teacher_spec(raw: Mapping[str, Any]) -> TeacherSpecBase:
    """One validated spec; ConfigError with the nearest name for an unknown type or setting."""
    kind = raw.get("type")
    if not isinstance(kind, str) or kind not in TEACHERS:
        raise unknown_name("teacher type", str(kind), TEACHERS)
    return checked_spec(TEACHERS[kind], raw, kind)


#: As a field of a model: settings become the spec of their ``type``.
TeacherSpec = Annotated[
    SerializeAsAny[TeacherSpecBase],
    BeforeValidator(lambda raw: teacher_spec(raw) if isinstance(raw, Mapping) else raw),
]


class EnsembleSpec(TeacherSpecBase):
    """Several teachers as one, ``each`` actions of every member."""

    type: Literal["ensemble"] = "ensemble"
    members: tuple[TeacherSpec, ...] = Field(min_length=1)
    each: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _count(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and isinstance(raw.get("members"), list | tuple):
            each = raw.get("each", 1)
            if isinstance(each, int) and each > 0:  # anything else is refused as ``each``
                return {"actions": len(raw["members"]) * each, **raw}
        return raw

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if any(isinstance(member, EnsembleSpec) for member in self.members):
            raise ValueError("`members` holds an ensemble; list its members instead")
        if self.actions != len(self.members) * self.each:
            raise ValueError("`actions` is members x `each`; leave it out")
        return self

    @property
    def may_give_logprobs(self) -> bool:
        return all(member.may_give_logprobs for member in self.members)

    def check(self, context: TeacherContext) -> None:
        check_teachers(self.members, context)

    def fingerprint(self) -> str:
        each = [member.fingerprint() for member in self.members]
        return sha256(repr(each).encode()).hexdigest() if any(each) else ""

    def build(self, context: TeacherContext) -> EnsembleTeacher:
        return EnsembleTeacher(self.id, _build(self.members, context))


#: ``type`` in a config -> the spec that its settings must fit and that builds the teacher.
TEACHERS: dict[str, type[TeacherSpecBase]] = {
    "oracle": OracleSpec,
    "random": RandomSpec,
    "replay": ReplaySpec,
    "policy": PolicySpec,
    "local": LocalSpec,
    "openai": OpenAISpec,
    "anthropic": AnthropicSpec,
    "gemini": GeminiSpec,
    "python": PythonSpec,
    "ensemble": EnsembleSpec,
}


def build_teachers(
    specs: Sequence[TeacherSpec],
    writer: ChainWriter | None = None,
    *,
    styles: Sequence[str] = (),
    pool: AnswerPool | None = None,
) -> list[ActionSource]:
    """One ActionSource per spec, in order.

    ``writer`` and its ``styles`` are the benchmark's chain writer, needed by oracles; ``pool`` the
    answers that random teachers draw from unless their spec lists some. Raises ConfigError for a
    doubled id, the id of the policy, an oracle without writer, or a missing file.
    """
    return _build(specs, TeacherContext(writer, styles, pool))


def check_teachers(specs: Sequence[TeacherSpec], context: TeacherContext) -> None:
    """Raise what `build_teachers` would, but load no weights."""
    _check_ids(specs)
    for spec in specs:
        spec.check(context)


def _build(specs: Sequence[TeacherSpec], context: TeacherContext) -> list[ActionSource]:
    _check_ids(specs)
    return [spec.build(context) for spec in specs]


def _check_ids(specs: Sequence[TeacherSpec]) -> None:
    ids = [spec.id for spec in specs]
    for id in ids:
        if ids.count(id) > 1:
            raise ConfigError(f"Two teachers have the id {id!r}; give each its own.")
        if id in (KEPT, POLICY):
            raise ConfigError(f"A teacher cannot have the id {id!r}; choose another.")
