"""Arms: runs of one setting that differ in their seed only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ekipl_lab.report.gather import RunData

#: Settings in which runs of one arm may differ.
FREE = ("name", "seed", "tracking")
_SEED = re.compile(r"[-_. ]*(seed|s)?[-_. ]*\d+$")


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs by seed, seeds rising."""

    label: str
    runs: Mapping[int, RunData]


def arms_of(runs: Sequence[RunData]) -> list[Arm]:
    """The arms, in the order of their first runs; a second run of one seed is an arm of its own."""
    found: dict[tuple[str, int], dict[int, RunData]] = {}
    for run in runs:
        settings = {key: value for key, value in run.config.items() if key not in FREE}
        key = json.dumps(settings, sort_keys=True, default=str)
        seed, place = int(run.config.get("seed", 0)), 0
        while seed in found.get((key, place), {}):
            place += 1
        found.setdefault((key, place), {})[seed] = run
    members = [list(by.values()) for by in found.values()]
    labels = _labels_apart([_label(one) for one in members], members)
    arms = zip(labels, found.values(), strict=True)
    return [Arm(label, dict(sorted(by.items()))) for label, by in arms]


def several_seeds(arms: Sequence[Arm]) -> bool:
    """Whether some two arms share two seeds or more, so that seeds can carry the comparison."""
    return len(arms) > 1 and any(len(common_seeds(arms[0], arm)) > 1 for arm in arms[1:])


def common_seeds(first: Arm, second: Arm) -> list[int]:
    """Seeds that both arms were run with."""
    return sorted(set(first.runs) & set(second.runs))


def representatives(arms: Sequence[Arm]) -> list[RunData]:
    """One run of every arm, of the lowest seed that all have (else of its own lowest)."""
    shared = set.intersection(*(set(arm.runs) for arm in arms))
    return [arm.runs[min(shared)] if shared else arm.runs[min(arm.runs)] for arm in arms]


def _label(runs: Sequence[RunData]) -> str:
    """The name of the runs together: their one name, or what is left of it without the seed."""
    names = [run.info.name for run in runs]
    if len(runs) == 1:
        return runs[0].label
    if len(set(names)) == 1:
        return names[0]
    stems = {_SEED.sub("", name) for name in names}
    return (stems.pop() if len(stems) == 1 else "") or names[0]


def _labels_apart(labels: Sequence[str], members: Sequence[Sequence[RunData]]) -> list[str]:
    """The labels; those that several arms have with the id of the arm's first run."""
    apart = [
        label if labels.count(label) == 1 else f"{label} ({runs[0].info.run_id[:6]})"
        for label, runs in zip(labels, members, strict=True)
    ]
    if len(set(apart)) == len(apart):
        return apart
    return [f"{label} ({number})" for number, label in enumerate(labels, 1)]  # ids that begin alike
