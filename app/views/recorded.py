"""Groups that training recorded, step by step, and what other rules would have kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app import html, items, recorded_groups, runs, samples, strips, whatif
from app.filters import GROUP_FILTERS, UNSOUND
from app.group import describe_group
from app.marks import is_checked
from app.measured import ANY
from app.notation import explain_notation
from app.state import to_query
from app.views import live
from app.views.base import Properties, View, options
from ekipl_lab.errors import unknown_name
from ekipl_lab.types import ActionGroup

if TYPE_CHECKING:
    from app.ui import Ui

#: The choice of a baseline or spread that leaves it as the run had it.
AS_TRAINED = ("as in this run", "")
_SHIFTS = ("previous", "next")
#: Fields of the state that a control of the same name sets.
_CHOSEN = ("baseline", "scale", "search", "keep", "family", "difficulty")


@dataclass(frozen=True, slots=True)
class State:
    """The ``group``-th group (from 0) of a training step; step 0 picks one that shows something.

    ``baseline`` and ``scale`` are those of the table of other rules; empty: as in the run.
    Previous and next go through the groups that hold ``search``, that the filter ``keep`` keeps
    and that are of ``family`` and ``difficulty``.
    """

    run: str = ""
    step: int = 0
    group: int = 0
    baseline: str = ""
    scale: str = ""
    search: str = ""
    keep: str = "all"
    family: str = ANY
    difficulty: str = ANY


def build(ui: Ui) -> None:
    """Run, step, group, and with what other rules are computed."""
    ui.choice("run", "Run")
    ui.number("step", "Training step", least=1)
    ui.number("group", "Group in this step, counted from 1", least=1)
    ui.arrows()
    ui.heading("Groups")
    ui.choice("keep", "Show")
    ui.choice("family", "Family")
    ui.choice("difficulty", "Difficulty")
    ui.text("search", "Find in completions", "such as blue cone")
    ui.heading("Other rules")
    ui.choice("baseline", "Advantage measured from the mean of")
    ui.choice("scale", "and divided by the spread of")


def complete(state: State) -> State:
    """A run, and a group of it, that show something."""
    state = replace(state, run=state.run or recorded_groups.opening_run())
    run = state.run
    if state.step:
        return state
    step, group = recorded_groups.opening_group(run)
    if _is_filtered(state):
        step, group = (_found(state) or ((step, group),))[-1]
    return replace(state, run=run, step=step, group=state.group or group)


def load(state: State) -> Properties:
    """The run, the place in it, and whether there is a next group."""
    step, group = state.step, state.group
    ends = {action: _neighbour(state, action) == (step, group) for action in _SHIFTS}
    return {
        "run": options(runs.choices(), state.run),
        "step": {"value": step or None},
        "group": {"value": group + 1},
        "previous": {"value": "First group" if ends["previous"] else "← Previous"},
        "next": {"value": "Last group" if ends["next"] else "Next →"},
        "search": {"value": state.search},
        "keep": options([(title, name) for name, (title, _) in GROUP_FILTERS.items()], state.keep),
        "family": options([ANY, *recorded_groups.list_families(state.run)], state.family),
        "difficulty": options(
            [ANY, *recorded_groups.list_difficulties(state.run)], state.difficulty
        ),
        "baseline": options([AS_TRAINED, *whatif.baselines()], state.baseline),
        "scale": options([AS_TRAINED, *whatif.spreads()], state.scale),
    }


def act(action: str, state: State, values: Mapping[str, Any]) -> State:
    """The group that was set, or its neighbour; always one that the run has, if it has any.

    ``place`` is the number, from 0, of a step among those recorded.
    """
    run, step, group = values.get("run", state.run), state.step, state.group
    steps = recorded_groups.list_steps(run)
    state = replace(
        state, **{name: values.get(name, getattr(state, name)) for name in _CHOSEN}, run=run
    )
    if action == "run" and step not in steps:
        return complete(replace(state, step=0, group=0))
    if action == "step" and isinstance(values.get("step"), int):
        step = values["step"]
    elif action == "place" and steps and isinstance(values.get("place"), int):
        step = steps[min(max(0, values["place"]), len(steps) - 1)]
    elif action == "group":
        group = max(0, int(values.get("group", 1)) - 1)
    elif action in _SHIFTS:
        step, group = _neighbour(state, action)
    elif action in ("search", "keep", "family", "difficulty") and _is_filtered(state):
        step, group = next(iter(_found_from(state) or _found(state)), (step, group))
    return replace(
        state, step=step, group=min(group, max(0, recorded_groups.count_groups(run, step) - 1))
    )


def _neighbour(state: State, action: str) -> tuple[int, int]:
    """The group before or after, over the borders of steps; the same at either end."""
    here = (state.step, state.group)
    if action == "next":
        return next((place for place in _found_from(state) if place > here), here)
    earlier = [place for place in _found(state) if place < here]
    return earlier[-1] if earlier else here


def _found_from(state: State) -> list[tuple[int, int]]:
    """The groups from this one on that are wanted."""
    here = (state.step, state.group)
    return [place for place in _found(state) if place >= here]


def _found(state: State) -> Sequence[tuple[int, int]]:
    """The groups that are wanted, in order; none for an unknown filter."""
    if state.keep not in GROUP_FILTERS:
        return ()
    family, difficulty = (
        "" if chosen == ANY else chosen for chosen in (state.family, state.difficulty)
    )
    return recorded_groups.list_groups(state.run, state.search, state.keep, family, difficulty)


def _is_filtered(state: State) -> bool:
    chosen = (state.search, state.keep, state.family, state.difficulty)
    return chosen != ("", "all", ANY, ANY)


def _wanted(state: State) -> str:
    """What is wanted of a group, in words; empty for every group."""
    if not _is_filtered(state):
        return ""
    words = [GROUP_FILTERS[state.keep][0]] if state.keep != "all" else []
    words += [state.family] if state.family != ANY else []
    words += [f"difficulty {state.difficulty}"] if state.difficulty != ANY else []
    words += [f"with “{state.search}”"] if state.search else []
    return ", ".join(words)


def show(state: State) -> Iterator[str]:
    """The group as it was trained on, where it stands in the run, and what else might have been."""
    if not state.run:
        yield html.render_message("No run yet", runs.NO_RUN, "make demo")
        return
    group = recorded_groups.load_recorded(state.run, state.step, state.group)
    config = runs.config_of(state.run)
    sample, why = samples.opened(group.sample)
    if not sample.images:
        why = why or samples.why_no_picture(config, sample)
    now = live.State(state.run, runs.list_checkpoints(state.run)[-1], sample.id)
    if state.keep not in GROUP_FILTERS:
        raise unknown_name("filter", state.keep, GROUP_FILTERS)
    wanted = _wanted(state)
    if state.keep == UNSOUND and not is_checked(sample.id):
        wanted += " (nothing can check the chains of this run, only answers are judged)"
    place = strips.place_of(
        recorded_groups.list_marks(state.run), _found(state), state, _address, wanted
    )
    yield html.render_page(
        sample,
        items.draw_large(sample) if sample.images else (),
        describe_group(group),
        note=_note(state),
        live_query=to_query("live", now) if sample.images else "",
        place=place,
        no_picture=why,
        notation=explain_notation(sample, (a.completion for a in group.candidates)),
        other=_other(state, config.get("ekipl", {}), group),
    )


def _address(state: State, step: int, group: int) -> str:
    return to_query("recorded", replace(state, step=step, group=group))


def _note(state: State) -> str:
    note = f"Recorded in step {state.step}, group {state.group + 1}."
    if paid := runs.paid_by(state.run, state.step):
        note += f" So far the run had paid its teachers {html.dollars(paid)}."
    return note


def _other(state: State, ekipl: Mapping[str, Any], group: ActionGroup) -> html.Other:
    """What other rules and weightings would have made of the group."""
    baseline = state.baseline or ekipl.get("baseline", "kept")
    scale = state.scale or ekipl.get("scale_rewards", "group")
    weighting = ekipl.get("weighting", "policy_ratio")
    return html.Other(
        baseline,
        scale,
        whatif.outcomes(group, baseline, scale),
        weighting,
        whatif.pulls(group, {weighting: ekipl.get("weighting_params", {})}),
    )


VIEW = View("Recorded", State, build, load, show, act, complete)
