"""How an entry of a registry (selection rules, weightings) and its parameters are looked up."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ekipl_lab.errors import unknown_name

Entry = TypeVar("Entry")


def find_entry(
    kind: str,
    registry: Mapping[str, Entry],
    name: str,
    function_of: Callable[[Entry], Callable[..., Any]],
    params: Mapping[str, Any],
) -> Entry:
    """The entry of that name whose function takes ``params`` as keywords; else ConfigError."""
    if name not in registry:
        raise unknown_name(kind, name, registry)
    signature = inspect.signature(function_of(registry[name]))
    takes = [p.name for p in signature.parameters.values() if p.kind == p.KEYWORD_ONLY]
    for key in params:
        if key not in takes:
            raise unknown_name(f"parameter of {kind} {name!r}", key, takes)
    return registry[name]
