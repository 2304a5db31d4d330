"""How long the cells of a study will take, from what the records of earlier cells took."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ekipl_lab.files import read_json
from ekipl_lab.studies.plan import Cell
from ekipl_lab.training.config.plan import plan_run

#: What one unit of each kind of work is.
UNITS = {
    "train": "policy completion trained on",
    "sft": "supervised chain",
    "evaluation": "completion of a measurement",
}


def work_of(cell: Cell) -> Counter[str]:
    """Kind -> amount of a cell; a solve rate is measured before the steps that it weighs."""
    work: Counter[str] = Counter()
    for step in cell.steps:
        plan = plan_run(step.config)
        if step.sft is None:
            work["train"] += plan.policy_completions
            work["evaluation"] += plan.evaluation_completions
        else:
            brought = step.config.data.limit  # by the data, one a sample
            bought = sum(plan.teacher_actions.values())
            asked = step.sft.actions or (bought if step.sft.learn == "actions" else brought)
            work["sft"] += round(asked * step.sft.epochs)
            if step.sft.weighting == "solve_rate":
                prompts = plan.policy_completions / plan.sizes.group
                seen = asked * prompts / bought if step.sft.learn == "actions" else asked
                work["evaluation"] += round(seen * step.sft.rollouts)
    items = sum(chosen.limit for chosen in cell.base.evaluation.sets)
    work["evaluation"] += items * (1 + cell.study.final.num_samples)
    return work


def seconds_each(folder: Path) -> dict[str, float]:
    """Kind -> median CPU seconds of one unit, over the records below ``folder`` with such work."""
    seen: dict[str, list[float]] = {kind: [] for kind in UNITS}
    for path in sorted(folder.glob("*/cells/*.json")):
        for kind, part in (read_json(path) or {}).get("parts", {}).items():
            if kind in seen and part["amount"] and part["seconds"]:
                seen[kind].append(part["seconds"] / part["amount"])
    return {kind: statistics.median(rates) for kind, rates in seen.items() if rates}


def seconds_of(cell: Cell, rates: Mapping[str, float]) -> float | None:
    """CPU seconds of one thread; None where a kind of its work was never timed."""
    work = {kind: amount for kind, amount in work_of(cell).items() if amount}
    if work.keys() - rates.keys():
        return None
    return sum(amount * rates[kind] for kind, amount in work.items())


def describe(cells: Sequence[Cell], left: Sequence[Cell], jobs: int, folder: Path) -> str:
    """What is planned and how long it will take, in a sentence or two."""
    text = f"{len(cells)} cells, {len(cells) - len(left)} of them done; {len(left)} to run"
    if not left:
        return f"{text}."
    rates = seconds_each(folder)
    known = [seconds for cell in left if (seconds := seconds_of(cell, rates)) is not None]
    if len(known) < len(left):
        kinds = {kind for cell in left for kind, amount in work_of(cell).items() if amount}
        lacks = ", ".join(UNITS[kind] for kind in sorted(kinds - rates.keys()))
        return f"{text}. No estimate yet: no record tells what one {lacks} takes."
    hours = sum(known) / 3600
    wall = max(hours / jobs, max(known) / 3600)
    return (
        f"{text}: about {hours:.2f} core-hours, {wall:.2f} hours with --jobs {jobs} on as many "
        f"idle cores (at the median speed of the records in {folder.parent.name}/{folder.name})."
    )
