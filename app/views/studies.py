"""The answer page of each study, and the latest report of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import html, studies
from app.views.base import Properties, View, options

if TYPE_CHECKING:
    from app.ui import Ui


@dataclass(frozen=True, slots=True)
class State:
    """A study by the name of its folder."""

    study: str = ""


def build(ui: Ui) -> None:
    """The study."""
    ui.choice("study", "Study")


def complete(state: State) -> State:
    """The first study with a page."""
    found = sorted(studies.list_studies(), key=lambda one: one.page is None)
    return State(state.study or (found[0].name if found else ""))


def load(state: State) -> Properties:
    """All studies."""
    return {"study": options([one.name for one in studies.list_studies()], state.study)}


def show(state: State) -> Iterator[str]:
    """The study's page, and a link to the report that `ekipl compare` left."""
    page = studies.answer(state.study) if state.study else ""
    if not page:
        word = "has records and no page yet" if state.study else "are no studies in results/studies"
        where = f"{state.study} {word}." if state.study else f"There {word}."
        page = html.render_message("No answer yet", where, "ekipl compare --help")
    yield html.render_study(page, has_report=studies.report_file().is_file())


VIEW = View("Studies", State, build, load, show, complete=complete)
