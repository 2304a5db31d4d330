"""How each kind of figure is solved: a plan of small operations on the given numbers.

Plans are shared by the answer, the chain writer and its faults; the checker has its own arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: (left, sign, right, result) of an operation that was done.
Done = tuple[int, str, int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """``left sign right``; sign is one of + - * / and ``root`` (of left; right is unused).

    A reference is a letter (the given numbers, a first), ``#j`` (the result of step j) or a number.
    """

    left: str
    sign: str
    right: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order, those whose results are the answer, and the one that finds x, if any."""

    steps: tuple[Step, ...]
    answers: tuple[int, ...]
    unknown: int | None = None


def _plan(*steps: str, answers: tuple[int, ...], unknown: int | None = None) -> Plan:
    return Plan(tuple(Step(*step.split()) for step in steps), answers, unknown)


_LEG_STEPS = ("a * a", "b * b", "#0 - #1", "#2 root #2")
_SQUARES = {
    "hypotenuse": _plan("a * a", "b * b", "#0 + #1", "#2 root #2", answers=(3,), unknown=3),
    "leg": _plan(*_LEG_STEPS, answers=(3,), unknown=3),
}
#: A leg and then the area: of a right triangle, of a rectangle of which the diagonal is given.
_LEG_AREAS = {
    "right_triangle": _plan(*_LEG_STEPS, "b * #3", "#4 / 2", answers=(3, 5), unknown=3),
    "diagonal": _plan(*_LEG_STEPS, "b * #3", answers=(3, 4), unknown=3),
}
#: What is asked where an angle or a length is unknown.
ANGLE_ASKED = frozenset({"angle", "twice", "half"})
LENGTH_ASKED = frozenset({*_SQUARES, "leg_area"})
#: Area and perimeter of a kind of figure.
_AREAS = {
    "rectangle": _plan("a * b", "a + b", "2 * #1", answers=(0, 2)),
    "sides": _plan("a * b", "#0 / 2", "a + b", "#2 + c", answers=(1, 3)),
    "parallelogram": _plan("a * b", "a + c", "2 * #1", answers=(0, 2)),
}


def total_of(kind: str) -> int:
    """What the angles of a kind of figure add to."""
    return 360 if kind in ("quadrilateral", "point") else 180


def plan_for(kind: str, given: int, asked: str) -> Plan:
    """The plan of a kind with so many given numbers; ``asked`` is angle (x, twice or half of it),
    hypotenuse, leg, leg_area (the leg and then the area) or area (and perimeter).

    Role order of the given: angles in any order; the two legs; hypotenuse, then leg, where a leg is
    asked; width and height; legs and hypotenuse (sides); base, height, slanted side.
    """
    if asked in ANGLE_ASKED:
        return _angle_plan(kind, given, asked)
    if asked == "leg_area":
        return _LEG_AREAS[kind]
    return _SQUARES.get(asked) or _AREAS[kind]


def _angle_plan(kind: str, given: int, asked: str) -> Plan:
    sums = ["a + b", "#0 + c"][: given - 1]
    known = f"#{len(sums) - 1}" if sums else "a"
    place = len(sums)
    more = {"twice": [f"2 * #{place}"], "half": [f"#{place} / 2"]}.get(asked, [])
    steps = (*sums, f"{total_of(kind)} - {known}", *more)
    return _plan(*steps, answers=(len(steps) - 1,), unknown=place)


def run(plan: Plan, given: Sequence[int], slips: Mapping[int, int] | None = None) -> list[Done]:
    """Every step as it was done; ``slips`` adds to the results of some steps.

    Roots and halves are rounded down (they are exact unless a number was misread).
    """
    known = dict(zip("abc", given, strict=False))
    done: list[Done] = []
    for place, step in enumerate(plan.steps):
        left, right = (known[ref] if ref in known else int(ref) for ref in (step.left, step.right))
        result = operate(left, step.sign, right) + (slips or {}).get(place, 0)
        done.append((left, step.sign, right, result))
        known[f"#{place}"] = result
    return done


def operate(left: int, sign: str, right: int) -> int:
    """One operation on integers."""
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    return left // right if sign == "/" else math.isqrt(max(0, left))


def answers(plan: Plan, done: Sequence[Done]) -> tuple[int, ...]:
    """The results that answer the question."""
    return tuple(done[place][3] for place in plan.answers)
