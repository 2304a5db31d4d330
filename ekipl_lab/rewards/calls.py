"""Answers that are calls of the transformation functions: ``change_color(0, red), ...``.

Example: truth ``change_size(1, small), change_color(0, red)``; the answer
``change_color(0, blue), change_size(1, small)`` earns (1 + 0.5) / 2 = 0.75 and is no success.

Values, as in Reason-RFT (arXiv 2503.20752): a whole call 1, the same function and object 0.5, the
same function and value 0.5, the same function 0.25. Unlike the published code, calls are assigned
so that the sum is the largest possible (no dependence on order), repeated calls count as
additional wrong ones, and an answer must be calls and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from ekipl_lab.errors import RewardError
from ekipl_lab.rewards.matchers import RIGHT, Match, Truth
from ekipl_lab.rewards.plain import MAX_ANSWER_CHARS, unlatex

FUNCTION_VALUES: dict[str, tuple[str, ...]] = {
    "change_size": ("small", "medium", "large"),
    "change_color": ("yellow", "gray", "cyan", "blue", "brown", "green", "red", "purple"),
    "change_material": ("glass", "metal", "rubber"),
    "change_shape": ("cube", "sphere", "cylinder"),
    "change_position": (
        "front", "behind", "left", "right",
        "front_left", "front_right", "behind_left", "behind_right",
    ),
}  # fmt: skip

MAX_CALLS = 32


class Call(NamedTuple):
    """One call, ``function(object, value)``."""

    function: str
    object: int
    value: str


_CALL = re.compile(
    r"""[\s,;]*([A-Za-z_]+)\s*\(\s*(\d{1,4})\s*,\s*(["']?)([A-Za-z_]+)\3\s*\)""", re.ASCII
)


def read_calls(text: str) -> list[Call] | None:
    """The calls in order, repeated ones included; None if the text holds anything else or none."""
    text = unlatex(text).rstrip(",;.")
    if not text or len(text) > MAX_ANSWER_CHARS:
        return None
    calls: list[Call] = []
    at = 0
    while at < len(text):
        found = _CALL.match(text, at)
        if found is None or len(calls) == MAX_CALLS:
            return None
        calls.append(Call(found[1], int(found[2]), found[4]))
        at = found.end()
    return calls


def check_calls(truth: str) -> list[Call]:
    """The calls of a ground truth; RewardError for an unknown function or value, or no calls."""
    calls = read_calls(truth)
    if calls is None:
        raise RewardError(f"ground truth {truth!r} is not a sequence of calls")
    for call in calls:
        if call.function not in FUNCTION_VALUES:
            raise RewardError(f"ground truth has the unknown function {call.function!r}")
        if call.value not in FUNCTION_VALUES[call.function]:
            raise RewardError(f"ground truth has the unknown value {call.value!r} in {call!r}")
    return calls


def call_value(given: Call, wanted: Call) -> float:
    """What one given call is worth against one true call."""
    if given.function != wanted.function:
        return 0.0
    same = (given.object == wanted.object) + (given.value == wanted.value)
    return (0.25, 0.5, 1.0)[same]


def partial_credit(given: list[Call], wanted: list[Call]) -> float:
    """The best one-to-one assignment's sum over max(number given, number true), in [0, 1]."""
    from scipy.optimize import linear_sum_assignment

    table = [[call_value(one, other) for other in wanted] for one in given]
    rows, columns = linear_sum_assignment(table, maximize=True)
    total = sum(table[row][column] for row, column in zip(rows, columns, strict=True))
    return float(total / max(len(given), len(wanted)))


def match_calls(answer: str, truth: Truth) -> Match:
    """1 if the calls are the true ones in any order, else the partial credit (below 1)."""
    wanted = check_calls(truth.text)
    given = read_calls(answer)
    if given is None:
        return Match(0.0, "not a sequence of calls")
    if Counter(given) == Counter(wanted):
        return RIGHT
    return Match(partial_credit(given, wanted), "some calls differ")


def match_calls_strict(answer: str, truth: Truth) -> Match:
    """1 if the calls are the true ones in any order, else 0."""
    match = match_calls(answer, truth)
    return match if match.value == 1.0 else Match(0.0, match.note)
