"""What is looked at, as a value that fits into the address: ``?run=...&item=...``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar
from urllib.parse import urlencode

ALL_FAMILIES = "all"
START = "start"
#: How the names of fields begin that name a checkpoint.
_CHECKPOINTS = ("checkpoint", "against_checkpoint")
S = TypeVar("S")


def to_query(view: str, state: Any, *, default: str = "live") -> str:
    """The part of the address after ``?``: the fields of a state that have a value of their own.

    The view is named unless it is the ``default`` one.
    """
    named = [(field.name, field.default, getattr(state, field.name)) for field in fields(state)]
    pairs = [(name, value) for name, usual, value in named if value != usual]
    if view != default:
        pairs.insert(1, ("view", view))
    return urlencode(pairs, safe="/", errors="replace")


def checkpoint_name(text: str) -> str:
    """The name of a checkpoint: the start is step 0, ``start`` under either name."""
    return START if text == "step-0" else text


def from_query(kind: type[S], query: Mapping[str, str]) -> S:
    """The state that an address names; what it leaves out or spoils has its default.

    Names are only read here: whether such a run or item exists is found when it is shown.
    """
    found: dict[str, str | int] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        text = query.get(field.name, "")
        if isinstance(field.default, str):
            text = checkpoint_name(text) if field.name.startswith(_CHECKPOINTS) else text
            found[field.name] = text or field.default
        elif text.isascii() and text.isdecimal() and len(text) < 10:
            found[field.name] = int(text)
    return kind(**found)
