"""What pydantic found wrong, as this project says it: the field, what it must be, what was given.

A clause names a value by its kind alone and never shows it: it may be a key in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails

_SETTINGS = "settings (key: value)"
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
    """Settings of a file: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


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
