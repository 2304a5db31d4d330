"""Groups that training recorded, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app import html, items, runs
from app.group import describe_group
from app.state import to_query
from app.views import live
from app.views.base import Properties, View, options

if TYPE_CHECKING:
    from app.ui import Ui


@dataclass(frozen=True, slots=True)
class State:
    """The ``group``-th group (from 0) of a training step; step 0 is the last one."""

    run: str = ""
    step: int = 0
    group: int = 0


def build(ui: Ui) -> None:
    """Run, step, group."""
    ui.choice("run", "Run")
    ui.choice("step", "Training step")
    ui.number("group", "Group in this step, counted from 0")
    with ui.row():
        ui.button("previous", "← Previous")
        ui.button("next", "Next →")


def complete(state: State) -> State:
    """The latest run, its last step."""
    run = state.run or runs.latest()
    return replace(state, run=run, step=state.step or max(runs.list_steps(run), default=0))


def load(state: State) -> Properties:
    """The run's steps."""
    return {
        "run": options(runs.choices(), state.run),
        "step": options(runs.list_steps(state.run), state.step),
        "group": {"value": state.group},
    }


def act(action: str, state: State, values: Mapping[str, Any]) -> State:
    """The group that was set, or its neighbour; always one that the run has, if it has any."""
    run, step = values.get("run", state.run), values.get("step", state.step)
    group = values.get("group", state.group)
    if action == "run" and step not in runs.list_steps(run):
        step = complete(State(run)).step
    step, group = _neighbour(run, step, group, {"previous": -1, "next": 1}.get(action, 0))
    return State(run, step, min(group, max(0, runs.count_groups(run, step) - 1)))


def _neighbour(run: str, step: int, group: int, shift: int) -> tuple[int, int]:
    """The group before or after, over the borders of steps; the same at either end."""
    steps = runs.list_steps(run)
    if shift == 0 or step not in steps:
        return step, group
    if 0 <= group + shift < runs.count_groups(run, step):
        return step, group + shift
    place = steps.index(step) + shift
    if not 0 <= place < len(steps):
        return step, group
    return steps[place], 0 if shift > 0 else runs.count_groups(run, steps[place]) - 1


def show(state: State) -> Iterator[str]:
    """The group as it was trained on, and what had been paid by then."""
    if not state.run:
        yield html.render_message("No run yet", runs.NO_RUN, "make demo")
        return
    group = runs.load_recorded(state.run, state.step, state.group)
    large = items.draw_large(group.sample) if group.sample.images else ()
    now = live.State(state.run, runs.list_checkpoints(state.run)[-1], group.sample.id)
    note = f"Recorded in step {state.step}, group {state.group}."
    if paid := runs.paid_by(state.run, state.step):
        note += f" So far the run had paid its teachers {html.dollars(paid)}."
    yield html.render_page(
        group.sample,
        large,
        describe_group(group),
        note=note,
        live_query=to_query("live", now) if large else "",
    )


VIEW = View("Recorded", State, build, load, show, act, complete)
