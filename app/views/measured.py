"""Every stored evaluation, item by item, beside another checkpoint, run or teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from app import evaluations, html, measured
from app.filters import ITEM_FILTERS, Item
from app.measured import ANY, Wanted, Where
from app.state import START, to_query
from app.views.base import Properties, View, options
from app.views.measured_item import NOTHING, SIGNS, detail
from ekipl_lab.errors import DataError, EKIPLError
from ekipl_lab.types import EvalRecord

if TYPE_CHECKING:
    from app.ui import Ui

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
    ui.arrows()


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
        **_ends(state),
    }


def _ends(state: State) -> Properties:
    """The buttons say where there is no item before or after; nothing fits where both do."""
    try:
        place, fits = _place(state)
    except EKIPLError:
        place, fits = 0, []
    return {
        "previous": {"value": "← Previous" if place else "First item"},
        "next": {"value": "Next →" if place + 1 < len(fits) else "Last item"},
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
    yield overview if item is None else overview + detail(state, item)


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
    place, fits = _place(state)
    if not fits:
        return state
    return replace(state, item=fits[min(max(0, place + shift), len(fits) - 1)])


def _place(state: State) -> tuple[int, list[str]]:
    """The place of the item that is shown among those that fit, the first if it is none of them."""
    fits = _fitting(state)
    return (fits.index(state.item) if state.item in fits else 0), fits


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
        flips={keep: _only(state, keep) for keep in ("gained", "lost")},
        chains="" if state.run.startswith(evaluations.FOLDER) else urlencode({"run": state.run}),
        shown=len(found),
        filter=_filter_words(state),
        rows=rows,
        left_out=len(found) - len(drawn),
        nothing=_nothing(state, every),
        place=next((n for n, one in enumerate(found, 1) if one is item), 0),
    )


def _only(state: State, keep: str) -> str:
    """The address of the items of this overview that a filter keeps."""
    return to_query("measured", replace(state, keep=keep, item=""))


def _nothing(state: State, every: Sequence[Item]) -> str:
    """What is said where no item fits."""
    if ITEM_FILTERS[state.keep].scene and not any(measured.has_checker(i.record) for i in every):
        return f"Nothing can check the chains of {every[0].record.task}, only answers are judged."
    return "No item fits; widen the filter."


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


VIEW = View("Measured", State, build, load, show, act, complete)
