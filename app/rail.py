"""The choices beside the stage, as plain values: what can be chosen and what is chosen.

``plan`` makes them from a selection; ``choose`` makes the selection from what the user set. Neither
knows Gradio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app import items, runs
from app.state import ALL_FAMILIES, LIVE, RECORDED, START, Selection
from ekipl_lab.errors import EKIPLError


@dataclass(frozen=True, slots=True)
class Rail:
    """Choices and values of every control."""

    mode: str
    run_choices: tuple[tuple[str, str], ...]
    run: str
    checkpoints: tuple[tuple[str, str], ...]
    checkpoint: str
    task: str
    split: str
    families: tuple[str, ...]
    family: str
    number: int
    draw: int
    steps: tuple[int, ...]
    step: int
    num_groups: int
    group: int


@dataclass(frozen=True, slots=True)
class Controls:
    """What the user set."""

    mode: str
    run: str
    checkpoint: str
    task: str
    split: str
    family: str
    number: int
    draw: int
    step: int
    group: int


def start(task: str = "counting", split: str = "validation") -> Selection:
    """What the page opens with: the latest run and its last checkpoint, the first item."""
    known = runs.list_runs()
    run = known[0].id if known else ""
    item = items.item_at(task, split, ALL_FAMILIES, 0).id
    return Selection(run=run, checkpoint=runs.list_checkpoints(run)[-1], item=item)


def plan(selection: Selection) -> Rail:
    """The controls that show ``selection``; what does not exist is replaced by what does."""
    known = runs.list_runs()
    names = [(run.label, run.id) for run in known] or [("no run yet", "")]
    run = selection.run if any(r.id == selection.run for r in known) else names[0][1]
    checkpoints = runs.list_checkpoints(run)
    steps = runs.list_steps(run)
    step = selection.step if selection.step in steps else (steps[-1] if steps else 0)
    num_groups = runs.count_groups(run, step) if steps else 0
    try:
        task, split, family, number = items.position_of(selection.item, selection.family)
    except EKIPLError:
        task, split, family, number = items.list_tasks()[0], "validation", ALL_FAMILIES, 0
    return Rail(
        mode=selection.mode,
        run_choices=tuple(names),
        run=run,
        checkpoints=tuple((runs.label_checkpoint(run, name), name) for name in checkpoints),
        checkpoint=_one_of(selection.checkpoint, checkpoints),
        task=task,
        split=split,
        families=(ALL_FAMILIES, *items.list_families(task)),
        family=family,
        number=number,
        draw=selection.draw,
        steps=tuple(steps),
        step=step,
        num_groups=num_groups,
        group=min(selection.group, max(0, num_groups - 1)),
    )


def choose(action: str, controls: Controls) -> Selection:
    """The selection after the user set ``controls`` and did ``action``.

    Actions: ``set`` (a control was changed), ``previous``, ``next``, ``random``, ``again``,
    ``run`` (another run), ``place`` (task, split or family: start at its first item).
    """
    number, draw = controls.number, controls.draw
    shift = {"previous": -1, "next": 1}.get(action, 0)
    step, group = controls.step or 0, controls.group
    if controls.mode == RECORDED:
        step, group = _neighbour(controls.run, step, group, shift)
    elif action == "random":
        number = items.random_number(controls.split)
    elif action == "place":
        number = 0
    else:
        number = max(0, number + shift)
    families = (ALL_FAMILIES, *items.list_families(controls.task))
    family = _one_of(controls.family, families)
    checkpoint = controls.checkpoint
    if action == "run":
        checkpoint = runs.list_checkpoints(controls.run)[-1]
    return Selection(
        mode=controls.mode,
        run=controls.run,
        checkpoint=checkpoint,
        item=items.item_at(controls.task, controls.split, family, number).id,
        family=family,
        draw=draw + 1 if action == "again" else 0 if number != controls.number else draw,
        step=step,
        group=group,
    )


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


def settle(selection: Selection) -> Selection:
    """``selection`` with step and group moved to ones that the run has."""
    if selection.mode == LIVE:
        return selection
    rail = plan(selection)
    return replace(selection, run=rail.run, step=rail.step, group=rail.group)


def _one_of(name: str, known: Sequence[str]) -> str:
    return name if name in known else (known[0] if known else START)
