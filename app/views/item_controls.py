"""The controls that choose a benchmark item, of the views that can sample one: Live and Compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app import items
from app.state import ALL_FAMILIES
from app.views.base import Properties, options
from ekipl_lab import benchmarks
from ekipl_lab.errors import EKIPLError

if TYPE_CHECKING:
    from app.ui import Ui

#: What changes the item; another task, split or family begins at its first one.
ACTIONS = ("task", "split", "family", "number", "previous", "next", "random")


def build(ui: Ui) -> None:
    """Task, split, family and number of an item, its neighbours, or any."""
    ui.heading("Benchmark item")
    ui.choice("task", "Task", items.list_tasks())
    ui.choice("split", "Split", benchmarks.SPLITS)
    ui.choice("family", "Family")
    ui.number("number", "Item, counted from 1", least=1)
    with ui.row():
        ui.button("previous", "← Previous")
        ui.button("next", "Next →")
    ui.button("random", "Random item")


def load(item: str, family: str) -> Properties:
    """The place of the item in its benchmark, which goes on for ever; the first of all where the
    item is none of it."""
    try:
        task, split, family, number = items.position_of(item, family)
    except EKIPLError:
        task, split, family, number = items.FIRST
    return {
        "task": {"value": task},
        "split": {"value": split},
        "family": options([ALL_FAMILIES, *items.list_families(task)], family),
        "number": {"value": number + 1},
        "previous": {"value": "← Previous" if number else "First item"},
    }


def chosen(action: str, values: Mapping[str, Any]) -> tuple[str, str]:
    """The item that the controls say after one of ``ACTIONS``, and the family that is asked for."""
    task, split, number = values["task"], values["split"], int(values.get("number", 1)) - 1
    family = values.get("family")
    if family not in items.list_families(task):
        family = ALL_FAMILIES
    if action == "random":
        number = items.random_number(split)
    elif action in ("task", "split", "family"):
        number = 0
    number = max(0, number + {"previous": -1, "next": 1}.get(action, 0))
    return items.item_at(task, split, family, number).id, family
