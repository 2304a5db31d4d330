"""Arms: runs of one setting that differ in their seed only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ekipl_lab.report.gather import RunData

#: Settings in which runs of one arm may differ.
FREE = ("name", "seed", "tracking")
_SEED = re.compile(r"[-_. ]*(seed|s)?[-_. ]*\d+$")
#: The same before the number of a stage (``arm-s0.2``).
_SEED_OF_STAGE = re.compile(r"[-_. ]*(seed|s)?[-_. ]*\d+(?=\.\d+$)")


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs by seed, seeds rising."""

    label: str
    runs: Mapping[int, RunData]


def arms_of(runs: Sequence[RunData]) -> list[Arm]:
    """The arms, in the order of their first runs; a second run of one seed is an arm of its own."""
    found: dict[tuple[str, int], dict[int, RunData]] = {}
    for run in runs:
        key = json.dumps(_settings(run.config), sort_keys=True, default=str)
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


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What runs of one arm share. A later stage (``arm-s0.2``) starts from the policy that the one
    before it left, in a folder named after that run (``arm-s0.1``): that names the seed, too."""
    settings = {key: value for key, value in config.items() if key not in FREE}
    stem, _, stage = str(config.get("name", "")).rpartition(".")
    policy = settings.get("policy") or {}
    if stem and stage.isdecimal() and policy.get("path"):
        arm = re.sub(rf"-s{config.get('seed', 0)}(?![^-])", "", stem)
        settings["policy"] = policy | {"path": policy["path"].replace(f"{stem}.", f"{arm}.")}
    return settings


def _label(runs: Sequence[RunData]) -> str:
    """The name of the runs together: their one name, or what is left of it without the seed."""
    names = [run.info.name for run in runs]
    if len(runs) == 1:
        return runs[0].label
    if len(set(names)) == 1:
        return names[0]
    for seed in (_SEED, _SEED_OF_STAGE):
        stems = {seed.sub("", name, count=1) for name in names}
        if len(stems) == 1 and "" not in stems:
            return stems.pop()
    return names[0]


def _labels_apart(labels: Sequence[str], members: Sequence[Sequence[RunData]]) -> list[str]:
    """The labels; those that several arms have with the id of the arm's first run."""
    apart = [
        label if labels.count(label) == 1 else f"{label} ({runs[0].info.run_id[:6]})"
        for label, runs in zip(labels, members, strict=True)
    ]
    if len(set(apart)) == len(apart):
        return apart
    return [f"{label} ({number})" for number, label in enumerate(labels, 1)]  # ids that begin alike
