"""A group made now: a checkpoint samples a benchmark item, the run's teachers answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from app import html, items, live, runs
from app.group import describe_group
from app.notation import explain_notation
from app.state import ALL_FAMILIES, START
from app.streaming import Done, follow
from app.views.base import Properties, View, options
from ekipl_lab import benchmarks
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
    ui.heading("Benchmark item")
    ui.choice("task", "Task", items.list_tasks())
    ui.choice("split", "Split", benchmarks.SPLITS)
    ui.choice("family", "Family")
    ui.number("number", "Item, counted from 1", least=1)
    with ui.row():
        ui.button("previous", "← Previous")
        ui.button("next", "Next →")
    with ui.row():
        ui.button("random", "Random item")
        ui.stop("Stop")
    ui.button("again", "Sample again", primary=True)


def complete(state: State) -> State:
    """The latest run, its last checkpoint, the first item of what it trains on."""
    run = state.run or runs.latest()
    checkpoint = state.checkpoint or runs.list_checkpoints(run)[-1]
    if checkpoint == "step-0":
        checkpoint = START
    item = state.item or items.first_item(live.data_of(run)).id
    return State(run, checkpoint, item, state.family, state.draw)


def load(state: State) -> Properties:
    """The run's checkpoints and the place of the item in its benchmark."""
    checkpoints = runs.list_checkpoints(state.run)
    labels = [(runs.label_checkpoint(state.run, name), name) for name in checkpoints]
    try:
        task, split, family, number = items.position_of(state.item, state.family)
    except EKIPLError:
        task, split, family, number = items.FIRST
    return {
        "run": options(runs.choices(), state.run),
        "checkpoint": options(labels, state.checkpoint),
        "task": {"value": task},
        "split": {"value": split},
        "family": options([ALL_FAMILIES, *items.list_families(task)], family),
        "number": {"value": number + 1},
    }


def act(action: str, state: State, values: Mapping[str, Any]) -> State:
    """The item that was set, its neighbour, a random one, or the same one sampled again.

    Another task, split or family begins at its first item, another run at its last checkpoint.
    """
    run, checkpoint = values.get("run", state.run), values.get("checkpoint", state.checkpoint)
    task, split, number = values["task"], values["split"], int(values.get("number", 1)) - 1
    family = values.get("family")
    if family not in items.list_families(task):
        family = ALL_FAMILIES
    if action == "run":
        checkpoint = runs.list_checkpoints(run)[-1]
    elif action in ("task", "split", "family"):
        number = 0
    elif action == "random":
        number = items.random_number(split)
    number = max(0, number + {"previous": -1, "next": 1}.get(action, 0))
    item = items.item_at(task, split, family, number).id
    draw = state.draw + (action == "again") if item == state.item else 0
    return State(run, checkpoint, item, family, draw)


def show(state: State) -> Iterator[str]:
    """The sample at once, then the policy's chains as they grow, then the group."""
    sample = benchmarks.load_sample(state.item)
    large = items.draw_large(sample)

    def page(title: str, text: str) -> str:
        return html.render_page(sample, large, message=html.render_message(title, text))

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
        yield page("No group could be made", str(error))
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
