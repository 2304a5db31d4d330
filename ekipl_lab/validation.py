"""What pydantic found wrong, as this project says it: the field, what it must be, what was given.

A clause names a value by its kind alone and never shows it: it may be a key in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from ekipl_lab.errors import ConfigError
from ekipl_lab.secrets import refuse_secrets

_SETTINGS = "settings (key: value)"
#: No whole number beyond 64 bits: nothing counts as far, and files and stores cannot hold it.
LARGEST = 2**63
#: What the value must be, by the first word of pydantic's error type (int_type, int_parsing, ...).
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "list": "a list",
    "tuple": "a list",
    "dict": _SETTINGS,
    "mapping": _SETTINGS,
    "model": _SETTINGS,
    "dataclass": _SETTINGS,
}
_WRONG_KIND = ("type", "parsing", "from_float", "number", "attributes_type")
#: pydantic's error type -> the clause after the field's name, from the error's context.
_CLAUSES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is missing; add it",
    "greater_than_equal": lambda c: f"must be {_short(c['ge'])} or more",
    "greater_than": lambda c: f"must be greater than {_short(c['gt'])}",
    "less_than": lambda c: f"must be less than {_short(c['lt'])}",
    "less_than_equal": lambda c: f"must be {_short(c['le'])} or less",
    "too_short": lambda c: f"must have {c['min_length']} or more entries",
    "too_long": lambda c: f"must have {c['max_length']} or fewer entries",
    "string_too_short": lambda c: f"must have {c['min_length']} or more characters",
    "string_too_long": lambda c: f"must have {c['max_length']} or fewer characters",
    "string_pattern_mismatch": lambda c: f"must fit the pattern {c['pattern']}",
}
_GIVEN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "settings",
    type(None): "nothing",
}


class Section(BaseModel):
    """Settings of a file: unknown keys are refused, values are frozen, and none holds a secret of
    the environment, so that a plan can be printed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if kinds & {int, float} and bool not in kinds and any(_inner(value, bool)):
            raise ValueError("Input should be a number, not true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _bounded(cls, value: Any) -> Any:
        if any(abs(number) >= LARGEST for number in _inner(value, int)):
            raise ValueError("Input should be below 2^63")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _no_secret(cls, value: Any, info: ValidationInfo) -> Any:
        for text in _inner(value, str):
            refuse_secrets(f"the setting {info.field_name}", text)
        return value

    def refuse_idle(self, where: str, needs: str, but: str = "") -> None:
        """ConfigError for a setting (other than ``but``) that is not at its default, in a part that
        is off; ``needs`` says what would turn it on."""
        for name, field in type(self).model_fields.items():
            if name != but and getattr(self, name) != field.get_default():
                raise ConfigError(
                    f"{where}.{name} changes nothing here; {needs}, or leave {name} out."
                )


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    inner = [_kinds(one) for one in get_args(annotation)]
    return set().union({annotation}, *inner)


def _inner(value: Any, kind: type) -> Iterator[Any]:
    """Every value of that type in plain data; True for a flag, which may be false."""
    if isinstance(value, kind):
        yield True if kind is bool else value
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _inner(one, kind)


#: A seed: what numpy and torch both take.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
#: Below and above, sampling fails of numbers that cannot be, or is blind to the model.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 1e-4, 100.0


def _not_tiny(value: float) -> float:
    if 0.0 < value < LEAST_TEMPERATURE:
        raise ValueError(f"Input should be {LEAST_TEMPERATURE} or more, or 0")
    return value


#: A temperature to sample with; 0 is greedy. Bounds are the field's own.
Temperature = Annotated[float, AfterValidator(_not_tiny)]
#: A count that is bounded, so that nothing runs or allocates for ever.
Count = Annotated[int, Field(ge=1, le=10**7)]


class _Unique(yaml.SafeLoader):
    """Refuses a key that occurs twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<" and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} occurs twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> Any:
    """The content of a YAML file; ConfigError that names file and line for one that is not."""
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), _Unique)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); give its path.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not text in UTF-8 (byte {error.start} is not); save it in UTF-8."
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = str(error.problem).replace("'\\t'", "a tab")
        raise ConfigError(f"{path} is not valid YAML{line}: {problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        text = str(error).splitlines()[0]
        raise ConfigError(f"{path} is not valid YAML: {text}.") from error


def complaint(found: ErrorDetails, name: str) -> str:
    """One clause on the first mistake: ``name`` must be a whole number, not text."""
    kind, context = found["type"], found.get("ctx", {})
    if kind in _CLAUSES:
        return f"{name} {_CLAUSES[kind](context)}"
    noun, _, wrong = kind.partition("_")
    if noun in _KINDS and wrong in _WRONG_KIND:
        must, given = _KINDS[noun], _GIVEN.get(type(found["input"]))
        return f"{name} must be {must}" + (f", not {given}" if given and given != must else "")
    message = found["msg"].removeprefix("Value error, ").removesuffix(".")
    limit = message.removeprefix("Input should be ")
    return f"{name} must be {limit}" if limit != message else f"{name}: {message}"


def _short(bound: Any) -> str:
    """A bound without needless digits: 0, not 0.0."""
    return f"{bound:g}" if isinstance(bound, int | float) else str(bound)
