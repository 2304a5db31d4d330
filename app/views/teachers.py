"""Are a run's teachers worth their price? Usefulness, accuracy against cost, cache, failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import curves, html, runs, teaching
from app.views.base import Properties, View, options
from app.words import said
from ekipl_lab.errors import DataError

if TYPE_CHECKING:
    from app.ui import Ui


@dataclass(frozen=True, slots=True)
class State:
    """A run."""

    run: str = ""


def build(ui: Ui) -> None:
    """The run."""
    ui.choice("run", "Run")


def complete(state: State) -> State:
    """The latest run that has teachers, else the latest."""
    ids = [id for _, id in runs.choices() if id]
    taught = (id for id in ids[:20] if runs.config_of(id).get("teachers"))
    return State(state.run or next(taught, ids[0] if ids else ""))


def load(state: State) -> Properties:
    """All runs."""
    return {"run": options(runs.choices(), state.run)}


def show(state: State) -> Iterator[str]:
    """The report, the figures of cache, latency and price over the steps, and the requests."""
    if not state.run:
        yield html.render_message("No run yet", runs.NO_RUN, "make demo")
        return
    runs.require_run(state.run)
    try:
        parts = teaching.report(teaching.measured(state.run))
    except DataError as error:
        parts = [html.render_message("No report", said(error))]
    (info,) = curves.infos([state.run])
    figures = curves.sources(info, only=("usd", "paid", "cached", "latency", "actions"))
    plots = f'<div class="plots">{"".join(figures)}</div>' if figures else ""
    yield html.render_parts(
        f"Teachers of {info.name}", *parts, plots, *teaching.requests(state.run)
    )


VIEW = View("Teachers", State, build, load, show, complete=complete)
