"""Teachers from their configuration: a union of small models on ``type``.

Example (YAML)::

    teachers:
      - {type: oracle, id: careful, accuracy: 0.9}
      - {type: oracle, id: sloppy, accuracy: 0.6, fault_mode: wrong_chain, actions: 2}
      - {type: random, id: guesser}
      - {type: replay, id: recorded, path: recordings/gpt.jsonl}
      - {type: policy, id: bigger, path: assets/policies/bigger}
      - {type: openai, id: gpt, model: gpt-4o, gateway: {budget: {usd: 5}}}
      - {type: ensemble, id: panel, each: 2, members: [{type: local, id: big, path: big-vlm}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.teachers.adapters.anthropic import AnthropicSpec
from ekipl_lab.teachers.adapters.api import build_api_teacher
from ekipl_lab.teachers.adapters.gemini import GeminiSpec
from ekipl_lab.teachers.adapters.local import LocalSpec, build_local_teacher
from ekipl_lab.teachers.adapters.openai_compatible import OpenAISpec
from ekipl_lab.teachers.adapters.oracle import ANY_STYLE, ChainWriter, FaultMode, OracleTeacher
from ekipl_lab.teachers.adapters.random import AnswerPool, RandomTeacher
from ekipl_lab.teachers.adapters.replay import CotTeacher, ReplayTeacher
from ekipl_lab.teachers.ensemble import EnsembleTeacher
from ekipl_lab.teachers.spec import TeacherSpecBase as _Spec
from ekipl_lab.types import KEPT, POLICY, ActionSource
from ekipl_lab.validation import complaint


class OracleSpec(_Spec):
    """Knows the ground truth, errs at a set rate (``sources.teachers.oracle``)."""

    type: Literal["oracle"] = "oracle"
    accuracy: float = Field(default=1.0, ge=0.0, le=1.0)
    style: str = ANY_STYLE
    fault_mode: FaultMode = "wrong_answer"


class RandomSpec(_Spec):
    """Guesses; from ``answers`` if there are any, else by answer type."""

    type: Literal["random"] = "random"
    answers: tuple[str, ...] = ()


class ReplaySpec(_Spec):
    """Repeats a recording (``path``), or the chains of the data (``cot: true``)."""

    type: Literal["replay"] = "replay"
    path: Path | None = None
    cot: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.path is None) != self.cot:
            raise ValueError("give either `path` or `cot: true`")
        return self


class PolicySpec(_Spec):
    """The short form of ``local``: a checkpoint at temperature 1, not cached."""

    type: Literal["policy"] = "policy"
    path: str
    temperature: float = Field(default=1.0, ge=0.0)
    device: str = "cpu"


MemberSpec = Annotated[
    OracleSpec
    | RandomSpec
    | ReplaySpec
    | PolicySpec
    | LocalSpec
    | OpenAISpec
    | AnthropicSpec
    | GeminiSpec,
    Field(discriminator="type"),
]


class EnsembleSpec(_Spec):
    """Several teachers as one, ``each`` actions of every member (``sources.teachers.ensemble``)."""

    type: Literal["ensemble"] = "ensemble"
    members: tuple[MemberSpec, ...] = Field(min_length=1)
    each: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _count(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and isinstance(raw.get("members"), list | tuple):
            return {"actions": len(raw["members"]) * int(raw.get("each", 1)), **raw}
        return raw

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.actions != len(self.members) * self.each:
            raise ValueError("`actions` is members x `each`; leave it out")
        return self


TeacherSpec = Annotated[
    OracleSpec
    | RandomSpec
    | ReplaySpec
    | PolicySpec
    | LocalSpec
    | OpenAISpec
    | AnthropicSpec
    | GeminiSpec
    | EnsembleSpec,
    Field(discriminator="type"),
]

SPECS: dict[str, type[_Spec]] = {
    "oracle": OracleSpec,
    "random": RandomSpec,
    "replay": ReplaySpec,
    "policy": PolicySpec,
    "local": LocalSpec,
    "openai": OpenAISpec,
    "anthropic": AnthropicSpec,
    "gemini": GeminiSpec,
    "ensemble": EnsembleSpec,
}

_ADAPTER: TypeAdapter[TeacherSpec] = TypeAdapter(
    TeacherSpec, config=ConfigDict(hide_input_in_errors=True)
)


def teacher_spec(raw: Mapping[str, Any]) -> TeacherSpec:
    """One validated spec; ConfigError with the nearest name for an unknown type or setting."""
    kind = raw.get("type")
    if not isinstance(kind, str) or kind not in SPECS:
        raise unknown_name("teacher type", str(kind), SPECS)
    for name in raw:
        if name not in SPECS[kind].model_fields:
            raise unknown_name(f"setting of a teacher of type {kind!r}:", name, _settings(kind))
    try:
        return _ADAPTER.validate_python(dict(raw))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "settings"
        name = raw.get("id", "without id")
        raise ConfigError(f"Teacher {name!r}: {complaint(first, field)}.") from error


def _settings(kind: str) -> list[str]:
    return list(SPECS[kind].model_fields)


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
    seen: set[str] = set()
    for spec in specs:
        if spec.id in seen:
            raise ConfigError(f"Two teachers have the id {spec.id!r}; give each its own.")
        if spec.id in (KEPT, POLICY):
            raise ConfigError(f"A teacher cannot have the id {spec.id!r}; choose another.")
        seen.add(spec.id)
    return [_build(spec, writer, styles, pool) for spec in specs]


def _build(
    spec: TeacherSpec, writer: ChainWriter | None, styles: Sequence[str], pool: AnswerPool | None
) -> ActionSource:
    seed = spec.resolved_seed
    if isinstance(spec, OracleSpec):
        if writer is None:
            raise ConfigError(f"Teacher {spec.id!r}: this benchmark has no chain writer.")
        return OracleTeacher(
            spec.id,
            writer,
            accuracy=spec.accuracy,
            style=spec.style,
            fault_mode=spec.fault_mode,
            seed=seed,
            styles=styles,
        )
    if isinstance(spec, RandomSpec):
        answers = spec.answers
        own: AnswerPool | None = (lambda sample: answers) if answers else pool
        return RandomTeacher(spec.id, pool=own, seed=seed)
    if isinstance(spec, ReplaySpec):
        return CotTeacher(spec.id) if spec.path is None else ReplayTeacher(spec.id, spec.path)
    if isinstance(spec, EnsembleSpec):
        members = build_teachers(spec.members, writer, styles=styles, pool=pool)
        return EnsembleTeacher(spec.id, members)
    if isinstance(spec, LocalSpec):
        return build_local_teacher(spec)
    if isinstance(spec, OpenAISpec | AnthropicSpec | GeminiSpec):
        return build_api_teacher(spec)
    return build_local_teacher(LocalSpec(**{**spec.model_dump(), "type": "local"}))
