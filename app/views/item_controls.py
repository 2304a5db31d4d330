"""The controls that choose an item, of the views that can sample one: Live and Compare.

An item is one of the built-in benchmark, which goes on for ever, or one that a run on data of your
own was measured on or trained on: those have no task, split or family to choose.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app import evaluations, items, live, runs, samples
from app.state import ALL_FAMILIES
from app.views.base import Properties, options
from ekipl_lab import benchmarks
from ekipl_lab.errors import DataError, EKIPLError
from ekipl_lab.types import Sample

if TYPE_CHECKING:
    from app.ui import Ui

#: What changes the item; another task, split or family begins at its first one.
ACTIONS = ("task", "split", "family", "number", "previous", "next", "random")
_SHIFTS = {"previous": -1, "next": 1}


def build(ui: Ui) -> None:
    """Task, split, family and number of an item, its neighbours, or any."""
    ui.heading("Item")
    ui.choice("task", "Task", items.list_tasks())
    ui.choice("split", "Split", benchmarks.SPLITS)
    ui.choice("family", "Family")
    ui.number("number", "Number, counted from 1", least=1)
    ui.arrows()
    ui.button("random", "Random item")


def load(run: str, item: str, family: str) -> Properties:
    """The place of the item in its benchmark, or the first of all beside an item of a run's."""
    own = _own_items(run, item)
    try:
        task, split, family, number = items.position_of(item, family)
    except EKIPLError:
        task, split, family, number = items.FIRST
    place = own.index(item) if own else number
    return {
        "task": {"value": task, "visible": not own},
        "split": {"value": split, "visible": not own},
        "family": options([ALL_FAMILIES, *items.list_families(task)], family)
        | {"visible": not own},
        "number": {"value": number + 1},
        "previous": {"value": "← Previous" if place else "First item"},
        "next": {"value": "Last item" if own and place + 1 == len(own) else "Next →"},
    }


def chosen(action: str, run: str, item: str, values: Mapping[str, Any]) -> tuple[str, str]:
    """The item that the controls say after one of ``ACTIONS``, and the family that is asked for.

    ``item`` is the one before: the neighbours of one of a run's own are of the run's own.
    """
    if own := _own_items(run, item):
        return _own_chosen(action, own, item, values), ALL_FAMILIES
    task, split, number = values["task"], values["split"], int(values.get("number", 1)) - 1
    family = values.get("family")
    if family not in items.list_families(task):
        family = ALL_FAMILIES
    if action == "random":
        number = items.random_number(split)
    elif action in ("task", "split", "family"):
        number = 0
    number = max(0, number + _SHIFTS.get(action, 0))
    return items.item_at(task, split, family, number).id, family


def _own_chosen(action: str, own: Sequence[str], item: str, values: Mapping[str, Any]) -> str:
    if action == "random":
        return random.choice(own)
    place = int(values.get("number", 1)) - 1 if action == "number" else own.index(item)
    return own[min(max(0, place + _SHIFTS.get(action, 0)), len(own) - 1)]


def kept(run: str, item: str) -> str:
    """The item where another run can be asked about it, too, else the run's first."""
    return item if item.startswith("mini/") or _own_items(run, item) else first(run)


def first(run: str) -> str:
    """The item that opens first: of what the run trains on, where it was measured on that."""
    data = live.data_of(run)
    own = [] if items.is_built_in(data) else evaluations.list_items(run)
    return own[0] if own else items.first_item(data).id


def sample_of(run: str, item: str) -> Sample:
    """The item as the run sees it; ConfigError or DataError where there is none."""
    own = not items.is_built_in(live.data_of(run))
    if runs.is_known(run) and (own or item.startswith("mini/")):
        return own_sample(run, item)
    return benchmarks.load_sample(item)


def own_sample(run: str, item: str) -> Sample:
    """What a run was measured on, or trained on; DataError where it is neither."""
    try:
        return evaluations.sample_of(run, item)
    except DataError:
        if found := _trained_on(run).get(item):
            return found
        raise


def _trained_on(run: str) -> Mapping[str, Sample]:
    """The training samples of a run on own data by id; none where they cannot be read."""
    if items.is_built_in(live.data_of(run)):
        return {}
    try:
        return samples.trained_on(runs.config_of(run))
    except EKIPLError:
        return {}


def _own_items(run: str, item: str) -> list[str]:
    """What a run on own data was measured on, or else trained on, if the item is one of these."""
    if item.startswith("mini/"):
        return []
    try:
        found = evaluations.list_items(run)
    except EKIPLError:
        found = []
    found = found if item in found else list(_trained_on(run))
    return found if item in found else []
