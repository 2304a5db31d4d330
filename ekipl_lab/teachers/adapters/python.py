"""A teacher of your own: one class in a Python file, without a change to the library.

``{type: python, id: mine, class: "my_teacher.py:MyTeacher", ...}``. The class is either

- an adapter, a subclass of ``ChatAdapter`` (or ``Adapter``): it is asked through a gateway, with
  the same settings, cache, budget, retries and errors as the built-in ones; or
- any class with ``propose(samples, num_actions, params)`` (``ActionSource``): the other settings
  are the arguments of its constructor, which gets ``id`` and ``seed`` too if it takes them. With a
  ``gateway:`` block its actions are cached (``cache``, ``offline``, ``fresh_draws``).

``docs/extend/teacher.md`` has an example of each.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from ekipl_lab.errors import ConfigError, EKIPLError, TeacherError, unknown_name
from ekipl_lab.teachers.adapters.chat import Address, ApiSpec
from ekipl_lab.teachers.gateway.cached_source import CachedSource
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.teachers.gateway.spec import GatewaySpec
from ekipl_lab.teachers.gateway.types import Adapter
from ekipl_lab.teachers.spec import FINISH_REASONS, TeacherContext, checked_spec
from ekipl_lab.types import Action, ActionSource, Capabilities, GenerationParams, Sample
from ekipl_lab.user_code import load_attribute


class PythonSpec(Address):
    """A class in a file of yours, ``class: FILE.py:NAME``; other settings are the class's own."""

    model_config = ConfigDict(extra="allow", serialize_by_alias=True)

    type: Literal["python"] = "python"
    class_name: str = Field(alias="class")
    gateway: GatewaySpec | None = None

    @property
    def may_give_logprobs(self) -> bool:
        return True

    @property
    def own_settings(self) -> dict[str, Any]:
        """What was set beside the settings of every teacher, for the class."""
        address = {"base_url", "api_key_env"} & self.model_fields_set
        return {**{name: getattr(self, name) for name in address}, **(self.model_extra or {})}

    def build(self, context: TeacherContext) -> ActionSource:
        found = load_attribute(self.class_name, "teacher", "class")
        if not inspect.isclass(found):
            raise ConfigError(f"Teacher {self.id!r}: {self.class_name} is not a class.")
        if Adapter in found.__mro__:
            return self._behind_gateway(found)
        if not callable(getattr(found, "propose", None)):
            raise ConfigError(
                f"Teacher {self.id!r}: {self.class_name} must be a subclass of ChatAdapter, or "
                "have a method propose(samples, num_actions, params)."
            )
        source = OwnTeacher(self._made(found), self.id, self.class_name)
        if self.gateway is None:
            return source
        identity = {
            "class": self.class_name,
            "code": self.fingerprint(),
            "seed": self.resolved_seed,
            "settings": self.own_settings,
        }
        return CachedSource(
            source, identity, self.gateway, id=self.id, capabilities=source.capabilities
        )

    def fingerprint(self) -> str:
        return sha256(Path(self.class_name.rpartition(":")[0]).read_bytes()).hexdigest()

    def _behind_gateway(self, adapter: Any) -> Gateway:
        raw = {**self.own_settings, "id": self.id, "actions": self.actions, "seed": self.seed}
        if self.gateway is not None:
            raw["gateway"] = self.gateway
        settings = checked_spec(getattr(adapter, "settings", ApiSpec), raw, self.class_name)
        with one_sentence(f"Teacher {self.id!r}: {self.class_name} cannot be made"):
            made = _guarded(adapter, self.id, self.class_name)(settings)
        return Gateway(made, settings.gateway)

    def _made(self, own: Any) -> Any:
        """An object of the user's class; ConfigError if settings do not fit."""
        takes = inspect.signature(own).parameters
        settings = self.own_settings
        if not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            for name in settings:
                if name not in takes:
                    raise unknown_name(f"setting of {self.class_name}:", name, takes)
        offered = {"id": self.id, "seed": self.resolved_seed}
        settings |= {name: value for name, value in offered.items() if name in takes}
        for name, parameter in takes.items():
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.default is parameter.empty and name not in settings:
                raise ConfigError(f"Teacher {self.id!r}: {self.class_name} needs {name!r}; add it.")
        with one_sentence(f"Teacher {self.id!r}: {self.class_name} cannot be made"):
            return own(**settings)


class OwnTeacher:
    """An ActionSource around an object of the user's: what it gives is checked and named."""

    def __init__(self, own: Any, id: str, name: str) -> None:
        self.id, self.capabilities = id, getattr(own, "capabilities", Capabilities())
        self._own, self._name = own, name

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """As the user's ``propose``, under the teacher's id.

        TeacherError for anything that it raises, for another number or kind of actions, and for an
        action that no run can use.
        """
        who = f"Teacher {self.id!r}: {self._name}.propose"
        asked = f"samples {samples[0].id} to {samples[-1].id}" if samples else "no samples"
        with one_sentence(f"{who} failed on {asked}", TeacherError):
            rows = [list(row) for row in self._own.propose(samples, num_actions, params)]
        if len(rows) != len(samples):
            raise TeacherError(f"{who} gave {len(rows)} rows for {len(samples)} samples.")
        for sample, row in zip(samples, rows, strict=True):
            if len(row) != num_actions or not all(isinstance(each, Action) for each in row):
                kinds = sorted({type(each).__name__ for each in row})
                raise TeacherError(
                    f"{who} gave {len(row)} of {', '.join(kinds) or 'nothing'} for sample "
                    f"{sample.id}, not {num_actions} of Action."
                )
            with one_sentence(f"{who} failed on sample {sample.id}", TeacherError):
                fault = next(filter(None, map(_fault, row)), "")
            if fault:
                raise TeacherError(f"{who} gave for sample {sample.id} {fault}.")
        return [[replace(action, source=self.id) for action in row] for row in rows]


def _fault(action: Action) -> str:
    """What keeps an action from being used; empty if nothing does."""
    text: Any = action.completion
    if not isinstance(text, str):
        return f"{text!r} as completion, which is no text"
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "half a character (a lone surrogate)"
    if action.finish_reason not in FINISH_REASONS:
        return (
            f"the finish_reason {action.finish_reason!r}; it must be stop, or length for an action "
            "that was cut off"
        )
    if not all(map(math.isfinite, action.logprobs or ())):
        return "a log-probability that is no finite number"
    return ""


@contextmanager
def one_sentence(what: str, kind: type[EKIPLError] = ConfigError) -> Iterator[None]:
    """Errors of the user's code as one of ``kind``; errors of ours stay as they are."""
    try:
        yield
    except EKIPLError:
        raise
    except Exception as error:
        raise kind(f"{what}: {error!r}.") from error


def _guarded(adapter: type[Any], id: str, name: str) -> type[Any]:
    """The user's adapter, whose errors name the teacher, the method and the sample."""

    def guard(method: Callable[..., Any], title: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def guarded(self: Any, first: Any, *rest: Any) -> Any:
            sample = getattr(first, "sample_id", getattr(first, "id", ""))
            where = f" on sample {sample}" if sample else ""
            with one_sentence(f"Teacher {id!r}: {name}.{title} failed{where}", TeacherError):
                return method(self, first, *rest)

        return guarded

    methods = {title: guard(getattr(adapter, title), title) for title in ("call", "send", "action")}
    return type(adapter.__name__, (adapter,), methods)
