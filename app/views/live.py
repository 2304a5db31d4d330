"""A group made now: a checkpoint samples a benchmark item, the run's teachers answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from app import html, items, live, recorded_groups, runs
from app.group import describe_group
from app.notation import explain_notation
from app.state import ALL_FAMILIES
from app.streaming import Done, follow
from app.views import item_controls
from app.views.base import Properties, View, options
from app.words import said
from ekipl_lab.errors import EKIPLError

if TYPE_CHECKING:
    from app.ui import Ui


@dataclass(frozen=True, slots=True)
class State:
    """A checkpoint of a run, a sample, and the seed ``draw`` with which it is sampled.

    ``family`` only filters what previous and next go through.
    """

    run: str = ""
    checkpoint: str = ""
    item: str = ""
    family: str = ALL_FAMILIES
    draw: int = 0


def build(ui: Ui) -> None:
    """Run and checkpoint, then the item."""
    ui.choice("run", "Run")
    ui.choice("checkpoint", "Checkpoint")
    item_controls.build(ui)
    ui.stop("Stop")
    ui.button("again", "Sample again", primary=True)


def complete(state: State) -> State:
    """The run that the page opens on, its last checkpoint, the first item of what it trains on."""
    run = state.run or recorded_groups.opening_run()
    checkpoint = state.checkpoint or runs.list_checkpoints(run)[-1]
    item = state.item or item_controls.first(run)
    return State(run, checkpoint, item, state.family, state.draw)


def load(state: State) -> Properties:
    """The run's checkpoints and the place of the item in its benchmark."""
    checkpoints = runs.list_checkpoints(state.run)
    labels = [(runs.label_checkpoint(state.run, name), name) for name in checkpoints]
    return {
        "run": options(runs.choices(), state.run),
        "checkpoint": options(labels, state.checkpoint),
        **item_controls.load(state.run, state.item, state.family),
    }


def act(action: str, state: State, values: Mapping[str, Any]) -> State:
    """The item that was set, its neighbour, a random one, or the same one sampled again.

    Another run begins at its last checkpoint.
    """
    run, checkpoint = values.get("run", state.run), values.get("checkpoint", state.checkpoint)
    if action == "run":
        checkpoint = runs.list_checkpoints(run)[-1]
    item, family, draw = state.item, state.family, state.draw + (action == "again")
    if action == "run":
        item = item_controls.kept(run, item)
    if action in item_controls.ACTIONS:
        item, family = item_controls.chosen(action, run, item, values)
    return State(run, checkpoint, item, family, draw if item == state.item else 0)


def show(state: State) -> Iterator[str]:
    """The sample at once, then the policy's chains as they grow, then the group."""
    sample = item_controls.sample_of(state.run, state.item)
    large = items.draw_large(sample)

    def page(title: str, text: str, *, busy: bool = True) -> str:
        message = html.render_message(title, text, busy=busy)
        return html.render_page(sample, large, message=message)

    yield page("Preparing …", live.WAITING)
    try:
        setup = live.setup_of(state.run, state.checkpoint)
        yield page("Sampling …", setup.doing)
        asked = [teacher.source.id for teacher in setup.teachers]
        job = partial(live.live_group, state.run, state.checkpoint, sample, state.draw)
        for heard in follow(job):
            if isinstance(heard, Done):
                made = heard.value
            else:
                yield html.render_page(sample, large) + html.render_growing(heard, asked)
    except EKIPLError as error:
        yield page("No group could be made", said(error), busy=False)
        return
    chains = (action.completion for action in made.group.candidates)
    yield html.render_page(
        sample,
        large,
        describe_group(made.group),
        note=made.note,
        notation=explain_notation(sample, chains),
    )


VIEW = View("Live", State, build, load, show, act, complete)
