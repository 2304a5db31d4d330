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
    """Steps in order and the steps whose results are the answer."""

    steps: tuple[Step, ...]
    answers: tuple[int, ...]


def _plan(*steps: str, answers: tuple[int, ...]) -> Plan:
    return Plan(tuple(Step(*step.split()) for step in steps), answers)


_HYPOTENUSE = _plan("a * a", "b * b", "#0 + #1", "#2 root #2", answers=(3,))
_LEG = _plan("a * a", "b * b", "#0 - #1", "#2 root #2", answers=(3,))
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
    """The plan of a kind with so many given numbers; ``asked`` is angle, hypotenuse, leg or area.

    Role order of the given: angles in any order; the two legs; hypotenuse, then leg, where a leg is
    asked; width and height; legs and hypotenuse (sides); base, height, slanted side.
    """
    if asked == "angle":
        sums = ["a + b", "#0 + c"][: given - 1]
        known = f"#{len(sums) - 1}" if sums else "a"
        return _plan(*sums, f"{total_of(kind)} - {known}", answers=(len(sums),))
    return {"hypotenuse": _HYPOTENUSE, "leg": _LEG}.get(asked) or _AREAS[kind]


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
