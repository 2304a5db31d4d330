"""One measured item: across checkpoints, its chains side by side, and where to go on from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app import evaluations, html, items, measured, recorded_groups, samples
from app.columns import Column, column
from app.filters import Item
from app.measured import Where
from app.notation import explain_notation
from app.state import to_query
from app.views import compare, recorded
from app.words import said
from ekipl_lab.errors import DataError
from ekipl_lab.plots.figures import source_colours
from ekipl_lab.types import POLICY, EvalRecord

if TYPE_CHECKING:
    from app.views.measured import State

#: What an evaluation is compared with where it is compared with none.
NOTHING = "nothing"
SIGNS = {"right": "✓", "wrong": "✗", "unscored": "?"}


def detail(state: State, item: Item) -> str:
    """Picture and question, the item across checkpoints, and the chains side by side."""
    record = item.record
    where = Where(state.run, state.set, state.checkpoint, state.mode)
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
            for checkpoint, verdict in measured.history(where, record.sample_id)
        ],
        [*_taught(state, record.family), *_compare(state, record)],
    )  # fmt: skip
    try:
        sample, why = samples.opened(evaluations.sample_of(state.run, record.sample_id))
        large = items.draw_large(sample) if sample.images else ()
        head = html.render_page(sample, large, no_picture=why)
    except DataError as error:
        sample = evaluations.text_sample(record)
        head = html.render_message(record.sample_id, said(error))
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
        found = recorded_groups.list_groups(state.run, keep=keep, family=family) if family else ()
        if found:
            count = "1 group" if len(found) == 1 else f"{len(found)} groups"
            there = recorded.State(run=state.run, keep=keep, family=family)
            return [(f"{count} {words} the family {family}", to_query("recorded", there))]
    return []


def _compare(state: State, record: EvalRecord) -> list[tuple[str, str]]:
    """The item in Compare, with the same policies; an item of a folder's own data is in no run."""
    there = compare.State(item=record.sample_id)
    if not state.run.startswith(evaluations.FOLDER):
        beside = state.against not in ("", NOTHING)
        beside = beside and not state.against.startswith(evaluations.FOLDER)
        there = replace(
            there,
            run=state.run,
            checkpoint=state.checkpoint,
            run2=state.against if beside else "",
            checkpoint2=state.against_checkpoint if beside else "",
            how="stored" if state.mode == "greedy" else "stored_sampled",
        )
    elif not measured.has_checker(record):
        return []
    return [("beside teachers, in Compare", to_query("compare", there))]
