"""Policies side by side on one item, beside teachers: sampled now, or as evaluations stored it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from app import evaluations, html, items, live, measured, own, recorded_groups, runs, samples
from app.columns import Column, column
from app.completion import MAX_SHOWN
from app.filters import ITEM_FILTERS
from app.measured import Where
from app.notation import explain_notation
from app.state import ALL_FAMILIES, START
from app.streaming import Done, follow_all
from app.views import item_controls
from app.views.base import Properties, View, options
from app.words import said
from ekipl_lab.errors import EKIPLError, unknown_name
from ekipl_lab.plots.figures import source_colours
from ekipl_lab.types import POLICY, Action, RewardBreakdown, Sample

if TYPE_CHECKING:
    from app.ui import Ui

NO_POLICY, NO_TEACHERS, OF_DEMO = "none", "none", "demo"
HOWS = {
    "greedy": "now, the most likely chain",
    "sampled": "now, one chain drawn",
    "stored": "stored, greedy evaluation",
    "stored_sampled": "stored, sampled evaluation",
}


@dataclass(frozen=True, slots=True)
class State:
    """Up to three policies, each a checkpoint of a run, on a benchmark item or ``own`` (the key of
    a reader's picture, with ``question`` and ``answer``); teachers of a run's config (empty: of the
    first policy's run), ``how`` the chains are got, ``draw`` the seed of sampled ones."""

    run: str = ""
    checkpoint: str = ""
    run2: str = ""
    checkpoint2: str = ""
    run3: str = NO_POLICY
    checkpoint3: str = ""
    teachers: str = ""
    how: str = "greedy"
    item: str = ""
    family: str = ALL_FAMILIES
    draw: int = 0
    own: str = ""
    question: str = ""
    answer: str = ""


_PAIRS = (("run", "checkpoint"), ("run2", "checkpoint2"), ("run3", "checkpoint3"))


def build(ui: Ui) -> None:
    """Who is compared, how, and on what."""
    ui.heading("Policies")
    for (run, checkpoint), name in zip(_PAIRS, ("First", "Second", "Third"), strict=True):
        ui.choice(run, f"{name} run")
        ui.choice(checkpoint, f"{name} checkpoint")
    ui.choice("teachers", "Teachers of")
    ui.choice("how", "Chains")
    with ui.row():
        ui.button("again", "Draw again")
        ui.stop("Stop")
    item_controls.build(ui)
    ui.heading("Your own picture")
    ui.picture("picture", "Choose a picture …")
    ui.text("question", "Your question")
    ui.text("answer", "True answer, if you know it")
    ui.button("benchmark", "Back to the benchmark")


def complete(state: State) -> State:
    """The last checkpoint of the run that the page opens on against its start, another run at its
    last one, on an item that shows something."""
    run = state.run or recorded_groups.opening_run()
    run2 = state.run2 or run
    usual = START if run2 in (run, NO_POLICY) else _checkpoints(state, run2)[-1]
    state = replace(
        state,
        run=run,
        checkpoint=state.checkpoint or _checkpoints(state, run)[-1],
        run2=run2,
        checkpoint2=state.checkpoint2 or usual,
        checkpoint3=state.checkpoint3 or START,
    )
    return replace(state, item=state.item or _first_item(state))


def _checkpoints(state: State, run: str) -> list[str]:
    """What can be compared of a run, by step: saved checkpoints to sample, or measured ones."""
    if not state.how.startswith("stored"):
        return runs.list_checkpoints(run)
    sets = evaluations.list_sets(run)
    found = {name for of in sets for name in evaluations.list_checkpoints(run, of)} | {START}
    return sorted(found, key=lambda name: int(name.removeprefix("step-").replace(START, "0")))


def _first_item(state: State) -> str:
    """An item that the first policy got right and the second wrong; the first that was measured
    where there is none, or of what the run trains on where nothing was."""
    for name in evaluations.list_sets(state.run):
        with suppress(EKIPLError):
            mine = Where(state.run, name, state.checkpoint, "greedy")
            found = measured.items_of(mine, Where(state.run2, name, state.checkpoint2, "greedy"))
            gained = (item for item in found if ITEM_FILTERS["gained"].keeps(item))
            return next(gained, found[0]).record.sample_id
    return item_controls.first(state.run)


def load(state: State) -> Properties:
    """Runs, their checkpoints, and the place of the item in its benchmark."""
    known = runs.choices()
    of = [("the first policy's run", ""), ("nobody", NO_TEACHERS), ("the demo", OF_DEMO), *known]
    found: dict[str, Mapping[str, Any]] = {
        "teachers": options([choice for choice in of if choice[1] or choice[0] != NO_RUN_LABEL],
                            state.teachers),
        "how": options([(title, name) for name, title in HOWS.items()], state.how),
        **item_controls.load(state.run, state.item, state.family),
        "question": {"value": state.question},
        "answer": {"value": state.answer},
    }  # fmt: skip
    for place, (run, checkpoint) in enumerate(_PAIRS):
        chosen = getattr(state, run)
        names = [] if chosen == NO_POLICY else _checkpoints(state, chosen)
        labels = [(runs.label_checkpoint(chosen, name), name) for name in names]
        nobody = [("nobody", NO_POLICY)] if place else []
        found[run] = options([*nobody, *known], chosen)
        shown = options(labels, getattr(state, checkpoint))
        found[checkpoint] = shown | {"visible": chosen != NO_POLICY}
    return found


NO_RUN_LABEL = "no run yet"


def act(action: str, state: State, values: Mapping[str, Any]) -> State:
    """The state that the controls say; another run stands at its last checkpoint."""
    names = ("teachers", "how", "question", "answer", *(name for pair in _PAIRS for name in pair))
    state = replace(state, **{name: values[name] for name in names if name in values})
    for run, checkpoint in _PAIRS:
        chosen = getattr(state, run)
        if action == run and chosen != NO_POLICY:
            last: dict[str, Any] = {checkpoint: _checkpoints(state, chosen)[-1]}
            state = replace(state, **last)
    if action == "run":
        state = replace(state, item=item_controls.kept(state.run, state.item))
    if action == "picture" and values.get("picture"):
        return replace(state, own=own.keep(str(values["picture"])), draw=0)
    if action == "benchmark":
        return replace(state, own="", question="", answer="")
    if action in item_controls.ACTIONS:
        item, family = item_controls.chosen(action, state.run, state.item, values)
        return replace(state, item=item, family=family, own="", draw=0)
    return replace(state, draw=state.draw + (action == "again"))


def show(state: State) -> Iterator[str]:
    """The item at once; then every column as soon as it is there."""
    if state.how not in HOWS:
        raise unknown_name("way to get chains", state.how, HOWS)
    sample = _sample(state)
    seen, why = samples.opened(sample)
    large = items.draw_large(seen) if seen.images else ()
    picture = html.render_page(seen, large, no_picture=why)
    policies, teachers = _policies(state, sample), _teachers(state, sample)
    columns = [waiting for waiting, _ in [*policies, *teachers]]
    yield _page(picture, sample, columns)
    rounds = [policies, *([teacher] for teacher in teachers)]  # policies at once, then each teacher
    place = 0
    for makers in rounds:
        for news in follow_all([make for _, make in makers]):
            for at, heard in news.items():
                columns[place + at] = _heard(columns[place + at], heard)
            yield _page(picture, sample, columns)
        place += len(makers)


def _heard(waiting: Column, heard: str | Done[Column] | BaseException) -> Column:
    """The column, its text so far, or why there is none."""
    if isinstance(heard, Done):
        return heard.value
    if isinstance(heard, str):
        return replace(waiting, message=f"{heard[-MAX_SHOWN:]} …")
    if isinstance(heard, EKIPLError):
        return replace(waiting, message=said(heard))
    raise heard


def _page(picture: str, sample: Sample, columns: Sequence[Column]) -> str:
    chains = (column.first.raw for column in columns if column.first)
    notation = html.render_notation(explain_notation(sample, chains))
    return picture + notation + html.render_columns(columns)


#: What stands in the place of a column, and what makes it; it may say how far its text is.
Say = Callable[[str], None]
Maker = tuple[Column, Callable[[Say], Column]]


def _sample(state: State) -> Sample:
    if state.own:
        setup = live.config_of("" if state.run == NO_POLICY else state.run)
        bare = setup.data.benchmark == "mini" and not setup.data.instructed
        return own.own_sample(state.own, state.question, state.answer, bare=bare)
    if state.item.startswith("mini/"):
        return item_controls.sample_of(state.run, state.item)
    return item_controls.own_sample(state.run, state.item)


def _policies(state: State, sample: Sample) -> list[Maker]:
    color = source_colours([POLICY])[POLICY]
    chosen = [(getattr(state, run), getattr(state, checkpoint)) for run, checkpoint in _PAIRS]
    return [
        (
            Column(_title(run), _note(run, checkpoint), color, message="not there yet …"),
            partial(_policy_column, state, run, checkpoint, sample, color),
        )
        for run, checkpoint in dict.fromkeys(chosen)
        if run != NO_POLICY
    ]


def _policy_column(
    state: State, run: str, checkpoint: str, sample: Sample, color: str, say: Say
) -> Column:
    """The column of a policy; while it is sampled, it says the text so far."""
    pairs: list[tuple[Action, RewardBreakdown | None]]
    if state.how.startswith("stored"):
        mode = "sampled" if state.how == "stored_sampled" else "greedy"
        record = evaluations.find(run, checkpoint, sample.id, mode)
        pairs = list(zip(record.actions, record.rewards, strict=True))
    else:
        setup, greedy = live.setup_of(run, checkpoint), state.how == "greedy"
        action = live.sample_once(setup, sample, state.draw, greedy=greedy, on_text=say)
        pairs = [_judged(setup, sample, action)]
    return column(_title(run), _note(run, checkpoint), color, sample, pairs)


def _teachers(state: State, sample: Sample) -> list[Maker]:
    """A column for every teacher of the chosen config; one that says why where there is none."""
    if state.teachers == NO_TEACHERS:
        return []
    run = {OF_DEMO: "", "": state.run}.get(state.teachers, state.teachers)
    try:
        setup = live.setup_of(run, START)
    except EKIPLError as error:
        color = source_colours(["teachers"])["teachers"]
        broken = Column("teachers", "", color, message=said(error))
        return [(broken, lambda say: broken)]
    colours = source_colours(teacher.source.id for teacher in setup.teachers)

    def ask(teacher: Any, color: str, say: Say) -> Column:
        actions = live.ask_teacher(setup, teacher, sample, state.draw)
        pairs = [_judged(setup, sample, action) for action in actions]
        return column(teacher.source.id, "teacher", color, sample, pairs)

    return [
        (Column(name, "teacher", colours[name], message="not asked yet …"),
         partial(ask, teacher, colours[name]))
        for teacher in setup.teachers
        for name in [teacher.source.id]
    ]  # fmt: skip


def _judged(
    setup: live.Setup, sample: Sample, action: Action
) -> tuple[Action, RewardBreakdown | None]:
    """The action with what it earned; nothing where no true answer is known."""
    return action, setup.scorer(sample, action) if sample.answer else None


def _title(run: str) -> str:
    return next((choice.name for choice in runs.list_runs() if choice.id == run), run or "demo")


def _note(run: str, checkpoint: str) -> str:
    return runs.label_checkpoint(run, checkpoint)


VIEW = View("Compare", State, build, load, show, act, complete)
