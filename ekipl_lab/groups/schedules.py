"""Settings that change over training: broken lines over optimiser steps.

    {"teacher_share": ((0, 1.0), (100, 0.0)), "sft.mu": ((0, 0.0), (20, 0.5), (60, 0.02))}

The value is constant before the first point and after the last, straight in between; two points
of one step are a jump (the later one holds from that step on). Steps are absolute, so that a
longer run begins like a shorter one, and nothing is remembered: a resumed run continues exactly.

    teacher_share          chance that a teacher is asked about a prompt (1 without a schedule)
    teacher_actions        at most so many actions of each teacher, rounded (its own `actions`)
    teacher_weight         factor on the advantages of teacher rows (1)
    sft.mu                 weight of the SFT term (`ekipl.sft.mu`)
    prefix.share           how much of a teacher's chain begins a row (`ekipl.prefix.share`)
    params.<name>          a parameter of the selection rule, rounded to an integer
    weighting_params.<name>  a parameter of the weighting
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ekipl_lab.errors import ConfigError, unknown_name

Points = Sequence[tuple[float, float]]
Schedules = Mapping[str, Points]

#: Name -> smallest and largest value; `params.` and `weighting_params.` are checked elsewhere.
RANGES = {
    "teacher_share": (0.0, 1.0),
    "teacher_actions": (0.0, math.inf),
    "teacher_weight": (0.0, math.inf),
    "sft.mu": (0.0, 1.0),
    "prefix.share": (0.0, 1.0),
}
#: Beginnings of names that stand for a parameter.
PREFIXES = ("params.", "weighting_params.")


def value_at(points: Points, step: float) -> float:
    """The height of the broken line at ``step``."""
    if step < points[0][0]:
        return float(points[0][1])
    for (left, low), (right, high) in pairwise(points):
        if left <= step < right:
            return float(low + (high - low) * (step - left) / (right - left))
    return float(points[-1][1])


def scheduled(schedules: Schedules, name: str, step: float, default: float) -> float:
    """The value of a setting at a step: its schedule's, else ``default``."""
    return value_at(schedules[name], step) if name in schedules else default


def parameters_at(schedules: Schedules, prefix: str, step: float) -> dict[str, float]:
    """The scheduled parameters whose names begin with ``prefix``, at a step."""
    return {
        name.removeprefix(prefix): value_at(points, step)
        for name, points in schedules.items()
        if name.startswith(prefix)
    }


def rounded(value: float) -> int:
    """The nearest integer, halves up."""
    return math.floor(value + 0.5)


def check_schedules(schedules: Schedules) -> None:
    """ConfigError for an unknown name, points that do not rise, or values out of range."""
    for name, points in schedules.items():
        if name not in RANGES and not name.startswith(PREFIXES):
            raise unknown_name("schedule", name, (*RANGES, *PREFIXES))
        if not points:
            raise ConfigError(f"ekipl.schedules.{name} has no points; give [[step, value], ...].")
        steps = [step for step, _ in points]
        if any(later < earlier for earlier, later in pairwise(steps)) or steps[0] < 0:
            raise ConfigError(f"ekipl.schedules.{name}: steps must rise from 0 or more: {steps}.")
        low, high = RANGES.get(name, (-math.inf, math.inf))
        for _, value in points:
            if not low <= value <= high:
                raise ConfigError(
                    f"ekipl.schedules.{name}: {value} is not between {low:g} and {high:g}."
                )
