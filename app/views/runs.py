"""Curves of several runs: arms with bands over their seeds, action sources, diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app import curves, html, runs
from app.views.base import Properties, View, options
from ekipl_lab.errors import unknown_name

if TYPE_CHECKING:
    from app.ui import Ui

LEARNING, SOURCES, DIAGNOSTICS = "learning", "sources", "diagnostics"
PANELS = [
    ("Learning curves", LEARNING),
    ("Action sources of the run", SOURCES),
    ("Diagnostics", DIAGNOSTICS),
]
#: ``beside`` for no other runs at all.
ALONE = "none"
#: Seconds after which a page with a run in training is drawn again.
REFRESH = 10


@dataclass(frozen=True, slots=True)
class State:
    """A run, others ``beside`` it (ids parted by commas), and which figures are shown.

    Without ``beside``: the latest of each other name in the run's experiment.
    """

    run: str = ""
    beside: str = ""
    panel: str = LEARNING


def build(ui: Ui) -> None:
    """The run, the others, the figures."""
    ui.choice("run", "Run")
    ui.choices("beside", "Beside it")
    ui.choice("panel", "Figures", PANELS)
    ui.button("refresh", "Refresh")


def complete(state: State) -> State:
    """The latest run."""
    return replace(state, run=state.run or runs.latest())


def load(state: State) -> Properties:
    """All runs of the store."""
    others = [(label, id) for label, id in runs.choices() if id and id != state.run]
    known = {id for _, id in others}
    return {
        "run": options(runs.choices(), state.run),
        "beside": {"choices": others, "value": [id for id in _beside(state) if id in known]},
        "panel": options(PANELS, state.panel),
    }


def act(action: str, state: State, values: Mapping[str, Any]) -> State:
    """Another run begins with the others of its experiment."""
    if action == "run":
        return replace(state, run=values.get("run", state.run), beside="")
    beside = ",".join(values.get("beside", ())) or ALONE
    beside = "" if action != "beside" and not state.beside else beside
    return replace(state, beside=beside, panel=values.get("panel", state.panel))


def show(state: State) -> Iterator[str]:
    """The runs as a table, their figures, and what the group doctor says."""
    if not state.run:
        yield html.render_message("No run yet", runs.NO_RUN, "make demo")
        return
    found = curves.infos([state.run, *_beside(state)])
    figures: dict[str, Callable[[], list[str]]] = {
        LEARNING: lambda: curves.learning(found),
        SOURCES: lambda: curves.sources(found[0]),
        DIAGNOSTICS: lambda: curves.diagnostics(found),
    }
    if state.panel not in figures:
        raise unknown_name("panel of figures", state.panel, figures)
    yield html.render_runs(
        curves.rows(found),
        figures[state.panel](),
        chosen=state.run,
        refresh=REFRESH if any(one.status == "RUNNING" for one in found) else 0,
    )


def _beside(state: State) -> list[str]:
    if state.beside == ALONE:
        return []
    if not state.beside:
        return curves.siblings(state.run)
    return [id for id in dict.fromkeys(state.beside.split(",")) if id and id != state.run][:20]


VIEW = View("Runs", State, build, load, show, act, complete)
