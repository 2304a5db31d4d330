"""The views of the page: one file each, one line here (docs/extend/app_view.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

from app import html
from app.state import from_query
from app.views.base import View
from ekipl_lab.errors import EKIPLError

#: Every view in the order of the page, the one that opens first; "live" is live.py.
NAMES = (
    "live",
    "recorded",
    "compare",
    "measured",
)
VIEWS: dict[str, View[Any]] = {name: import_module(f"app.views.{name}").VIEW for name in NAMES}


def parse(query: str) -> dict[str, str]:
    """The part of an address after ``?``, name -> value."""
    return {name: values[-1] for name, values in parse_qs(query, max_num_fields=20).items()}


def find(query: Mapping[str, str]) -> tuple[str, Any]:
    """Name and complete state of the view that an address names."""
    name = query.get("view", "")
    name = name if name in VIEWS else NAMES[0]
    view = VIEWS[name]
    return name, view.complete(from_query(view.state, query))


def show(query: str) -> Iterator[str]:
    """HTML of what an address names; the last one is the whole."""
    try:
        name, state = find(parse(query))
        yield from VIEWS[name].show(state)
    except EKIPLError as error:
        yield html.render_message("That cannot be shown", str(error))
