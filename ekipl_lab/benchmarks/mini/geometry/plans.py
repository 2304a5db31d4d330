"""How each kind of figure is solved: a plan of small operations on the given numbers.

A reference is ``("given", i)``, ``("constant", n)`` or ``("step", j)``. Plans are shared by the
answer, the chain writer and its faults; the checker has its own arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Ref = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """``left sign right``; sign is one of + - * / and ``root`` (of left; right is unused)."""

    left: Ref
    sign: str
    right: Ref


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order and the steps whose results are the answer."""

    steps: tuple[Step, ...]
    answers: tuple[int, ...]


def _g(place: int) -> Ref:
    return ("given", place)


def _s(place: int) -> Ref:
    return ("step", place)


def _from_total(total: int, given: int) -> Plan:
    """total - (sum of the given)."""
    steps: list[Step] = []
    last = _g(0)
    for place in range(1, given):
        steps.append(Step(last, "+", _g(place)))
        last = _s(len(steps) - 1)
    steps.append(Step(("constant", total), "-", last))
    return Plan(tuple(steps), (len(steps) - 1,))


_SQUARES = (Step(_g(0), "*", _g(0)), Step(_g(1), "*", _g(1)))
_HYPOTENUSE = Plan((*_SQUARES, Step(_s(0), "+", _s(1)), Step(_s(2), "root", _s(2))), (3,))
_LEG = Plan((*_SQUARES, Step(_s(0), "-", _s(1)), Step(_s(2), "root", _s(2))), (3,))
_RECTANGLE = Plan(
    (Step(_g(0), "*", _g(1)), Step(_g(0), "+", _g(1)), Step(("constant", 2), "*", _s(1))), (0, 2)
)
_SIDES = Plan(
    (
        Step(_g(0), "*", _g(1)),
        Step(_s(0), "/", ("constant", 2)),
        Step(_g(0), "+", _g(1)),
        Step(_s(2), "+", _g(2)),
    ),
    (1, 3),
)
_PARALLELOGRAM = Plan(
    (Step(_g(0), "*", _g(1)), Step(_g(0), "+", _g(2)), Step(("constant", 2), "*", _s(1))), (0, 2)
)


def plan_for(kind: str, given: int, asked: str) -> Plan:
    """The plan of a kind with so many given numbers; ``asked`` is angle, hypotenuse, leg or area.

    Role order of the given: angles in any order; the two legs; hypotenuse, then leg, where a leg is
    asked; width and height; legs and hypotenuse (sides); base, height, slanted side.
    """
    if asked == "angle":
        return _from_total(360 if kind in ("quadrilateral", "point") else 180, given)
    if asked == "hypotenuse":
        return _HYPOTENUSE
    if asked == "leg":
        return _LEG
    return {"rectangle": _RECTANGLE, "sides": _SIDES, "parallelogram": _PARALLELOGRAM}[kind]


def run(
    plan: Plan, given: Sequence[int], slips: Mapping[int, int] | None = None
) -> list[tuple[int, str, int, int]]:
    """Every step as (left, sign, right, result); ``slips`` adds to the results of some steps.

    Roots and halves are rounded down (they are exact unless a number was misread).
    """
    done: list[tuple[int, str, int, int]] = []
    for place, step in enumerate(plan.steps):
        left, right = (_value(ref, given, done) for ref in (step.left, step.right))
        result = operate(left, step.sign, right) + (slips or {}).get(place, 0)
        done.append((left, step.sign, right, result))
    return done


def _value(ref: Ref, given: Sequence[int], done: Sequence[tuple[int, str, int, int]]) -> int:
    kind, number = ref
    if kind == "constant":
        return number
    return given[number] if kind == "given" else done[number][3]


def operate(left: int, sign: str, right: int) -> int:
    """One operation on integers."""
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    return left // right if sign == "/" else math.isqrt(max(0, left))


def answers(plan: Plan, done: Sequence[tuple[int, str, int, int]]) -> tuple[int, ...]:
    """The results that answer the question."""
    return tuple(done[place][3] for place in plan.answers)
