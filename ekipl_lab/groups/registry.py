"""How an entry of a registry (selection rules, weightings) and its parameters are looked up."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.validation import complaint

Entry = TypeVar("Entry")
#: What a parameter may be, as its annotation.
FromZero = Annotated[int, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def find_entry(
    kind: str,
    registry: Mapping[str, Entry],
    name: str,
    function_of: Callable[[Entry], Callable[..., Any]],
    params: Mapping[str, Any],
) -> Entry:
    """The entry of that name whose function takes ``params`` as keywords; else ConfigError.

    A value must be what the keyword's annotation says.
    """
    if name not in registry:
        raise unknown_name(kind, name, registry)
    takes = _takes(function_of(registry[name]))
    for key, value in params.items():
        if key not in takes:
            raise unknown_name(f"parameter of {kind} {name!r}", key, tuple(takes))
        try:
            takes[key].validate_python(value, strict=True)
        except ValidationError as error:
            wrong = complaint(error.errors()[0], f"parameter {key!r} of {kind} {name!r}")
            raise ConfigError(f"{wrong[0].upper()}{wrong[1:]}; it is {value!r}.") from error
    return registry[name]


@functools.cache
def _takes(function: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    """What each keyword-only parameter may be."""
    hints = get_type_hints(function, include_extras=True)
    found = inspect.signature(function).parameters.values()
    return {p.name: TypeAdapter(hints.get(p.name, Any)) for p in found if p.kind == p.KEYWORD_ONLY}
