"""What pydantic found wrong, as this project says it: the field, what it must be, what was given.

A clause names a value by its kind alone and never shows it: it may be a key in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails

_WHOLE, _NUMBER, _FLAG, _TEXT = "a whole number", "a number", "true or false", "text"
#: pydantic's error type -> what the value must be.
_KINDS = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number",
    "bool_type": _FLAG,
    "bool_parsing": _FLAG,
    "string_type": _TEXT,
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "settings (key: value)",
    "mapping_type": "settings (key: value)",
    "model_type": "settings (key: value)",
    "model_attributes_type": "settings (key: value)",
    "dataclass_type": "settings (key: value)",
}
#: pydantic's error type -> the clause after the field's name, from the error's context.
_CLAUSES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is missing; add it",
    "greater_than": lambda c: f"must be greater than {_short(c['gt'])}",
    "greater_than_equal": lambda c: f"must be {_short(c['ge'])} or more",
    "less_than": lambda c: f"must be less than {_short(c['lt'])}",
    "less_than_equal": lambda c: f"must be {_short(c['le'])} or less",
    "literal_error": lambda c: f"must be {c['expected']}",
    "enum": lambda c: f"must be {c['expected']}",
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
    if kind not in _KINDS:
        return f"{name}: {found['msg'].removeprefix('Value error, ').removesuffix('.')}"
    must, given = _KINDS[kind], _GIVEN.get(type(found["input"]))
    return f"{name} must be {must}" + (f", not {given}" if given and given != must else "")


def _short(bound: Any) -> str:
    """A bound without needless digits: 0, not 0.0."""
    return f"{bound:g}" if isinstance(bound, int | float) else str(bound)
