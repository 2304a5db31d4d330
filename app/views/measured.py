"""Every stored evaluation, item by item, beside another checkpoint, run or teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from app import evaluations, html, items, measured, runs
from app.columns import Column, column
from app.filters import ITEM_FILTERS, Item
from app.measured import ANY, Wanted, Where
from app.notation import explain_notation
from app.state import START, to_query
from app.views import compare, recorded
from app.views.base import Properties, View, options
from ekipl_lab.errors import DataError, EKIPLError
from ekipl_lab.plots.figures import source_colours
from ekipl_lab.types import POLICY, EvalRecord

if TYPE_CHECKING:
    from app.ui import Ui

NOTHING = "nothing"
SIGNS = {"right": "✓", "wrong": "✗", "unscored": "?"}
#: Items that the overview draws; a filter brings in the others.
MAX_CELLS = 1_000
NO_EVALUATION = (
    "Nothing has been measured here yet. `make demo` measures while it trains; `ekipl eval` "
    "measures a checkpoint, an adapter or a teacher."
)


@dataclass(frozen=True, slots=True)
class State:
    """A set of a source (``run``: a run's id or ``eval/<folder>``) at a checkpoint in a mode;
    ``against`` another (``against_set`` at ``against_checkpoint``); what is kept, and the item."""

    run: str = ""
    checkpoint: str = ""
    set: str = ""
    mode: str = "greedy"
    against: str = ""
    against_checkpoint: str = ""
    keep: str = "all"
    family: str = ANY
    difficulty: str = ANY
    stratum: str = ANY
    words: str = ""
    item: str = ""


def build(ui: Ui) -> None:
    """Which evaluation, against which, and what of it."""
    ui.choice("run", "Run or evaluation")
    ui.choice("set", "Set")
    ui.choice("checkpoint", "Checkpoint")
    ui.choice("mode", "Actions", ("greedy", "sampled"))
    ui.heading("Against")
    ui.choice("against", "Run or evaluation")
    ui.choice("against_checkpoint", "Checkpoint")
    ui.heading("Items")
    ui.choice("keep", "Show")
    ui.choice("family", "Family")
    ui.choice("difficulty", "Difficulty")
    ui.choice("stratum", "Success at the start")
    ui.text("words", "Words in a chain")
    with ui.row():
        ui.button("previous", "← Previous")
        ui.button("next", "Next →")


def complete(state: State) -> State:
    """The latest evaluation at its last checkpoint against the same run's start; another run is
    compared at the same checkpoint."""
    run = state.run or evaluations.latest()
    sets = evaluations.list_sets(run)
    name = state.set or next(iter(sets), "")
    checkpoint = state.checkpoint or next(reversed(evaluations.list_checkpoints(run, name)), "")
    against = state.against or run
    there = evaluations.list_checkpoints(against, _set_there(against, name))
    usual = START if against == run else checkpoint
    other = state.against_checkpoint or (usual if usual in there else next(reversed(there), ""))
    if (against, other) == (run, checkpoint) and not state.against:
        against = NOTHING
    mode = state.mode
    if not state.run and mode == "greedy":
        mode = next(iter(_modes(run, name, checkpoint)), mode)
    return replace(
        state, run=run, set=name, checkpoint=checkpoint, mode=mode,
        against=against, against_checkpoint="" if against == NOTHING else other,
    )  # fmt: skip


def load(state: State) -> Properties:
    """What can be chosen, given what is chosen already."""
    sources = evaluations.choices()
    there = _set_there(state.against, state.set)
    records = _quietly(state)
    families = sorted({r.family for r in records})
    levels = [str(level) for level in sorted({r.difficulty for r in records})]
    known = sorted(set(measured.strata(_where(state)).values())) if records else []
    return {
        "run": options(sources, state.run),
        "set": options(evaluations.list_sets(state.run), state.set),
        "checkpoint": _checkpoints(state.run, state.set, state.checkpoint),
        "mode": options(_modes(state.run, state.set, state.checkpoint), state.mode),
        "against": options([("nothing", NOTHING), *sources], state.against),
        "against_checkpoint": _checkpoints(state.against, there, state.against_checkpoint)
        | {"visible": state.against not in ("", NOTHING)},
        "keep": options([(f.title, name) for name, f in ITEM_FILTERS.items()], state.keep),
        "family": options([ANY, *families], state.family),
        "difficulty": options([ANY, *levels], state.difficulty),
        "stratum": options([ANY, *known], state.stratum),
        "words": {"value": state.words},
    }


def act(action: str, state: State, values: Mapping[str, Any]) -> State:
    """What the controls say; another evaluation is opened at its last checkpoint."""
    names = ("run", "set", "checkpoint", "mode", "against", "against_checkpoint")
    kept = ("keep", "family", "difficulty", "stratum", "words")
    state = replace(state, **{n: values[n] for n in (*names, *kept) if n in values})
    if action == "run":
        state = replace(state, set="", checkpoint="", against="", against_checkpoint="",
                        **dict.fromkeys(("family", "difficulty", "stratum"), ANY))  # fmt: skip
    elif action == "set":
        state = replace(state, checkpoint="", against_checkpoint="")
    elif action == "against":
        state = replace(state, against_checkpoint="")
    state = complete(state)
    modes = _modes(state.run, state.set, state.checkpoint)
    if modes and state.mode not in modes:
        state = replace(state, mode=modes[0])
    if action in ("previous", "next"):
        return _moved(state, -1 if action == "previous" else 1)
    return state if action in ("against", "against_checkpoint", "checkpoint") else _reset(state)


def show(state: State) -> Iterator[str]:
    """The overview and the chosen item, or the first that fits."""
    if not state.run:
        yield html.render_message("Nothing measured yet", NO_EVALUATION, "make demo")
        return
    where, against = _where(state), _against(state)
    every = measured.items_of(where, against)
    found = measured.select(every, _wanted(state), where)
    chosen = next((i for i in every if i.record.sample_id == state.item), None)
    item = chosen or next(iter(found), None)
    if state.item and chosen is None:
        raise DataError(f"{state.set} has no item {state.item!r} at {state.checkpoint}.")
    overview = _overview(state, every, found, item)
    yield overview if item is None else overview + _detail(state, item)


def _where(state: State) -> Where:
    return Where(state.run, state.set, state.checkpoint, state.mode)


def _against(state: State) -> Where | None:
    """What is compared; in the other mode where it was measured in that alone."""
    if state.against in ("", NOTHING):
        return None
    name = _set_there(state.against, state.set)
    modes = _modes(state.against, name, state.against_checkpoint)
    mode = state.mode if state.mode in modes or not modes else modes[0]
    return Where(state.against, name, state.against_checkpoint, mode)


def _wanted(state: State) -> Wanted:
    return Wanted(state.keep, state.family, state.difficulty, state.stratum, state.words)


def _set_there(source: str, name: str) -> str:
    """The set of the same name in another source, or its first."""
    sets = evaluations.list_sets(source)
    return name if name in sets else next(iter(sets), "")


def _modes(source: str, name: str, checkpoint: str) -> list[str]:
    """Modes in which a checkpoint was measured."""
    try:
        found = {record.mode for record in evaluations.load(source, name, checkpoint)}
    except EKIPLError:
        return []
    return sorted(found)


def _quietly(state: State) -> Sequence[EvalRecord]:
    try:
        return _where(state).records()
    except EKIPLError:
        return []


def _checkpoints(source: str, name: str, value: str) -> dict[str, Any]:
    names = evaluations.list_checkpoints(source, name)
    return options([(evaluations.label_checkpoint(source, n), n) for n in names], value)


def _reset(state: State) -> State:
    """The same item where it still fits, else none: the first that fits is shown."""
    try:
        fits = _fitting(state)
    except EKIPLError:
        fits = []
    return state if state.item in fits else replace(state, item="")


def _fitting(state: State) -> list[str]:
    where = _where(state)
    found = measured.select(measured.items_of(where, _against(state)), _wanted(state), where)
    return [item.record.sample_id for item in found]


def _moved(state: State, shift: int) -> State:
    """The item before or after among those that fit; the same at either end."""
    fits = _fitting(state)
    if not fits:
        return state
    place = fits.index(state.item) + shift if state.item in fits else max(0, shift)
    return replace(state, item=fits[min(max(0, place), len(fits) - 1)])


def _title(state: State, source: str, checkpoint: str) -> str:
    named = evaluations.label_checkpoint(source, checkpoint)
    return f"{evaluations.label_source(source)}, {named}"


def _overview(state: State, every: Sequence[Item], found: Sequence[Item], item: Item | None) -> str:
    drawn = found[:MAX_CELLS]
    rows = [
        (name, [_cell(state, i, here=item is not None and i.record == item.record) for i in strip])
        for name, strip in groupby(drawn, key=lambda i: i.record.family or i.record.task)
    ]
    record = every[0].record
    where = f"{state.set}: {record.task}, {record.split}"
    return html.render_measured(
        title=f"{_title(state, state.run, state.checkpoint)} · {where} · {state.mode}",
        tally=measured.tally(every),
        against=_title(state, state.against, state.against_checkpoint),
        shown=len(found),
        filter=_filter_words(state),
        rows=rows,
        left_out=len(found) - len(drawn),
    )


def _filter_words(state: State) -> str:
    words = [ITEM_FILTERS[state.keep].title] if state.keep != "all" else []
    words += [value for value in (state.family,) if value != ANY]
    words += [f"difficulty {state.difficulty}"] if state.difficulty != ANY else []
    words += [f"{state.stratum} right at the start"] if state.stratum != ANY else []
    words += [f"with “{state.words}”"] if state.words else []
    return ", ".join(words)


def _cell(state: State, item: Item, *, here: bool) -> dict[str, Any]:
    flip = {("right", "wrong"): "gained", ("wrong", "right"): "lost"}.get(
        (item.verdict, item.other_verdict), ""
    )
    there = f", {item.other_verdict} there" if item.other_verdict else ""
    return {
        "verdict": item.verdict,
        "right": item.verdict == "right",
        "flip": flip,
        "sign": SIGNS[item.verdict] + {"gained": "+", "lost": "−", "": ""}[flip],
        "label": f"{item.record.sample_id}, difficulty {item.record.difficulty}: "
        f"{item.verdict}{there}",
        "query": to_query("measured", replace(state, item=item.record.sample_id)),
        "here": here,
    }


def _detail(state: State, item: Item) -> str:
    """Picture and question, the item across checkpoints, and the chains side by side."""
    record = item.record
    history = html.render_history(
        [
            {
                "name": evaluations.label_checkpoint(state.run, checkpoint),
                "verdict": verdict,
                "sign": SIGNS[verdict],
                "here": checkpoint == state.checkpoint,
                "query": to_query(
                    "measured", replace(state, checkpoint=checkpoint, item=record.sample_id)
                ),
            }
            for checkpoint, verdict in measured.history(_where(state), record.sample_id)
        ],
        [*_taught(state, record.family),
         ("beside teachers, in Compare", _compare(state, record.sample_id))],
    )  # fmt: skip
    try:
        sample = evaluations.sample_of(state.run, record.sample_id)
        head = html.render_page(sample, items.draw_large(sample) if sample.images else ())
    except DataError as error:
        sample = evaluations.text_sample(record)
        head = html.render_message(record.sample_id, str(error))
    color = source_colours([POLICY])[POLICY]
    columns = [_column(state.run, state.checkpoint, record, sample, color)]
    if item.other is not None:
        columns.append(_column(state.against, state.against_checkpoint, item.other, sample, color))
    chains = (column.first.raw for column in columns if column.first)
    notation = html.render_notation(explain_notation(sample, chains))
    return head + history + notation + html.render_columns(columns)


def _column(source: str, checkpoint: str, record: EvalRecord, sample: Any, color: str) -> Column:
    accent = (
        color
        if record.actions[0].source == POLICY
        else source_colours([record.model_id])[record.model_id]
    )
    note = f"{evaluations.label_checkpoint(source, checkpoint)}, {record.mode}"
    pairs = zip(record.actions, record.rewards, strict=True)
    return column(evaluations.label_source(source), note, accent, sample, pairs)


def _taught(state: State, family: str) -> list[tuple[str, str]]:
    """Where the run's training shows from which teacher's actions it learned a family."""
    for keep, words in (
        ("taught", "in which a teacher taught"),
        ("teacher_kept", "that kept a teacher's action on"),
    ):
        found = runs.list_groups(state.run, keep=keep, family=family) if family else ()
        if found:
            count = "1 group" if len(found) == 1 else f"{len(found)} groups"
            there = recorded.State(run=state.run, keep=keep, family=family)
            return [(f"{count} {words} the family {family}", to_query("recorded", there))]
    return []


def _compare(state: State, sample_id: str) -> str:
    """The address of the item in Compare, with the same policies."""
    if state.run.startswith(evaluations.FOLDER):
        return to_query("compare", compare.State(item=sample_id))
    beside = state.against not in ("", NOTHING) and not state.against.startswith(evaluations.FOLDER)
    return to_query(
        "compare",
        compare.State(
            run=state.run,
            checkpoint=state.checkpoint,
            run2=state.against if beside else "",
            checkpoint2=state.against_checkpoint if beside else "",
            how="stored" if state.mode == "greedy" else "stored_sampled",
            item=sample_id,
        ),
    )


VIEW = View("Measured", State, build, load, show, act, complete)
