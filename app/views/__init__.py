"""The views of the page: one file each, one line here (docs/extend/app_view.md)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

from app import html
from app.recorded_groups import list_steps, opening_run
from app.state import from_query, to_query
from app.views.base import View
from app.words import said
from ekipl_lab.errors import ConfigError, EKIPLError

#: Longest address, in characters.
MAX_ADDRESS = 30_000

#: Every view in the order of the page, the one that opens first; "live" is live.py.
NAMES = (
    "live",
    "recorded",
    "compare",
    "measured",
    "runs",
    "teachers",
    "studies",
    "judge",
)
VIEWS: dict[str, View[Any]] = {name: import_module(f"app.views.{name}").VIEW for name in NAMES}


def parse(query: str) -> dict[str, str]:
    """The part of an address after ``?``, name -> value; ConfigError if it is none or too long."""
    if len(query) > MAX_ADDRESS:
        raise ConfigError(f"An address has at most {MAX_ADDRESS} characters.")
    query = query.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate is no text
    try:
        found = parse_qs(query, max_num_fields=20)
    except ValueError as error:
        raise ConfigError(f"The address is not one of this page ({error}).") from error
    return {name: values[-1].replace("\0", "") for name, values in found.items()}


def find(query: Mapping[str, str]) -> tuple[str, Any]:
    """Name and complete state of the view that an address names."""
    name = query.get("view", "")
    name = name if name in VIEWS else _opening(query)
    view = VIEWS[name]
    return name, view.complete(from_query(view.state, query))


def _opening(query: Mapping[str, str]) -> str:
    """The view of an address that names none: Live for an item or where nothing is recorded."""
    names_item = not {"item", "checkpoint", "draw"}.isdisjoint(query)
    recorded = list_steps(query.get("run") or opening_run())
    return "recorded" if recorded and not names_item else NAMES[0]


def show(query: str) -> Generator[str, None, None]:
    """HTML of what an address names; the last one is the whole."""
    try:
        found = parse(query)
        if (named := found.get("view", NAMES[0])) not in VIEWS:
            raise ConfigError(f"There is no view {named!r}; choose one of: {', '.join(VIEWS)}.")
        name, state = find(found)
        save = html.render_save(to_query(name, state, default=""))
        for page in VIEWS[name].show(state):
            yield page + save
    except EKIPLError as error:
        yield html.render_message("That cannot be shown", said(error))
