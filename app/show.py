"""What the stage shows for a selection: HTML of the sample and of its group."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs

from app import items, live, rail, runs, view
from app.state import RECORDED, Selection, from_query
from ekipl_lab import benchmarks
from ekipl_lab.errors import EKIPLError


def selection_of(query: str) -> Selection:
    """The selection that the part of an address after ``?`` names."""
    pairs = parse_qs(query, max_num_fields=20)
    return from_query({name: values[-1] for name, values in pairs.items()}, rail.start())


def show(query: str) -> Iterator[str]:
    """HTML of the stage; first with a word about what is being done, then whole."""
    try:
        selection = selection_of(query)
        yield from _recorded(selection) if selection.mode == RECORDED else _live(selection)
    except EKIPLError as error:
        yield view.render_message("That cannot be shown", str(error))


def _live(selection: Selection) -> Iterator[str]:
    sample = benchmarks.load_sample(selection.item)
    large = items.draw_large(sample)
    yield view.render_page(sample, large, message=view.render_message("Preparing …", live.WAITING))
    try:
        setup = live.setup_of(selection.run, selection.checkpoint)
        doing = view.render_message("Sampling …", setup.doing)
        yield view.render_page(sample, large, message=doing)
        result = live.live_group(selection.run, selection.checkpoint, sample, selection.draw)
    except EKIPLError as error:
        problem = view.render_message("No group could be made", str(error))
        yield view.render_page(sample, large, message=problem)
        return
    yield view.render_page(sample, large, view.describe_group(result.group), note=result.note)


def _recorded(selection: Selection) -> Iterator[str]:
    if not selection.run:
        yield view.render_message("No run yet", runs.NO_RUN, "make demo")
    elif not runs.list_steps(selection.run):
        yield view.render_message("Nothing recorded", runs.NO_RECORDS)
    else:
        group = runs.load_recorded(selection.run, selection.step, selection.group)
        large = items.draw_large(group.sample) if group.sample.images else ()
        last = runs.list_checkpoints(selection.run)[-1]
        live_now = Selection(run=selection.run, checkpoint=last, item=group.sample.id)
        note = f"Recorded in step {selection.step}, group {selection.group}."
        paid = runs.paid_by(selection.run, selection.step)
        if paid:
            note += f" So far the run had paid its teachers {view.dollars(paid)}."
        shown = view.describe_group(group)
        yield view.render_page(
            group.sample, large, shown, note=note, live_query=live_now.to_query() if large else ""
        )
