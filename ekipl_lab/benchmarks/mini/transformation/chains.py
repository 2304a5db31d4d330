"""Reference chains of the transformation task, in five styles, right or wrong on purpose.

For a red cube that stays at p2 and a blue sphere that moves from p7 to p8 and turns green:

short    0 p2 p2 same . 1 p7 p8 color green , right .
facts    0 : p2 small red rubber cube to p2 small red rubber cube , same . 1 : p7 ... to p8 ... .
walk     0 p2 p2 equal small small equal ... . 1 p7 p8 right ... blue green color ... .
caption  before : p2 small red rubber cube , p7 ... . after : p2 ... , p8 ... . 1 : color ... .
wordy    object 0 stays at p2 . object 1 moves from p7 to p8 , its color turns from blue to ...

Cells are those of each picture as it is shown; directions are always those of the first picture.
An answer that takes a change back follows from the same chain.
A wrong answer comes from a believed change that is false, missing or one too many; a wrong chain
has a thing at a wrong cell of the first picture.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ekipl_lab.benchmarks.mini.grid import CELLS
from ekipl_lab.benchmarks.mini.steps import sentences
from ekipl_lab.benchmarks.mini.transformation import skills
from ekipl_lab.benchmarks.mini.transformation.sampling import random_call
from ekipl_lab.benchmarks.mini.transformation.scene import (
    FUNCTIONS,
    Call,
    Pair,
    Thing,
    answer_text,
    applied,
    call_order,
    calls_of,
    pair_from_json,
    seen_from,
)
from ekipl_lab.types import Sample


@dataclass(frozen=True, slots=True)
class Belief:
    """What a chain claims: things in both pictures as shown, by number, and the calls."""

    before: tuple[Thing, ...]
    after: tuple[Thing, ...]
    calls: tuple[Call, ...]


def write(sample: Sample, style: str, fault: str, rng: random.Random) -> tuple[str, str]:
    """Reasoning and answer for a transformation sample; see ``mini.chains``."""
    pair, facts = pair_from_json(sample.metadata["scene"]), sample.metadata["query"]
    if facts["form"] in skills.FORMS:
        answer = sample.answer if fault == "none" else skills.mistaken(sample.answer, rng)
        return skills.think(pair, facts, style, answer), answer
    belief = _believing(pair, calls_of(pair))
    if fault == "wrong_answer":
        belief = _misled(pair, facts, rng)
    elif fault == "wrong_chain":
        belief = _harmless(belief, rng)
    answer = answer_text(skills.asked(pair.before, facts, belief.calls))
    return sentences(_STYLES[style](belief, rng)), answer


def _believing(pair: Pair, calls: Sequence[Call]) -> Belief:
    after = applied(pair.before, calls)
    assert after is not None, "believed calls keep things on the grid"
    shown = tuple(seen_from(pair.view, thing) for thing in after)
    return Belief(pair.before, shown, tuple(sorted(calls, key=call_order)))


# --- styles -------------------------------------------------------------------------------------


def _verdict(belief: Belief, number: int) -> str:
    """``same``, or the changes of a thing: ``color green , right``."""
    clauses = [
        call.value if call.function == "position" else f"{call.function} {call.value}"
        for call in belief.calls
        if call.thing == number
    ]
    return " , ".join(clauses) or "same"


def _numbered(belief: Belief) -> Iterator[tuple[int, Thing, Thing]]:
    """Number, thing before and thing after."""
    for number, (before, after) in enumerate(zip(belief.before, belief.after, strict=True)):
        yield number, before, after


def _short(belief: Belief, rng: random.Random) -> list[str]:
    return [
        f"{number} p{before.cell} p{after.cell} {_verdict(belief, number)}"
        for number, before, after in _numbered(belief)
    ]


def _facts(belief: Belief, rng: random.Random) -> list[str]:
    return [
        f"{number} : p{before.cell} {before.words} to p{after.cell} {after.words} , "
        f"{_verdict(belief, number)}"
        for number, before, after in _numbered(belief)
    ]


def _walk(belief: Belief, rng: random.Random) -> list[str]:
    """Cells, then each kind: the word before, the word after, and whether they are equal."""
    moves = {call.thing: call.value for call in belief.calls if call.function == "position"}
    return [
        f"{number} p{before.cell} p{after.cell} {moves.get(number, 'equal')} "
        f"{skills.compared(before, after)}"
        for number, before, after in _numbered(belief)
    ]


def _caption(belief: Belief, rng: random.Random) -> list[str]:
    changed = sorted({call.thing for call in belief.calls})
    verdicts = [f"{number} : {_verdict(belief, number)}" for number in changed]
    before, after = skills.describe(belief.before), skills.describe(belief.after)
    return [f"before : {before}", f"after : {after}", *verdicts]


def _wordy(belief: Belief, rng: random.Random) -> list[str]:
    """One sentence a thing, in random order and varied wording."""
    order = list(range(len(belief.before)))
    if rng.random() < 0.5:
        rng.shuffle(order)
    return [_sentence(belief, number, rng) for number in order]


def _sentence(belief: Belief, number: int, rng: random.Random) -> str:
    before, after = belief.before[number], belief.after[number]
    name = rng.choice((f"object {number}", f"thing {number}", f"the {before.words} {number}"))
    calls = [call for call in belief.calls if call.thing == number]
    cells = f"p{before.cell} and p{after.cell}"
    if not calls:
        wordings = (f"{name} : {cells} , it stays the same", f"{name} is the same , {cells}")
        return rng.choice(wordings)
    clauses = [f"{name} goes from p{before.cell} to p{after.cell}"]
    for call in calls:
        if call.function == "position":
            wordings = (f"that is {call.value}", f"it moved {call.value}")
        else:
            old, its = getattr(before, call.function), f"its {call.function}"
            wordings = (f"{its} turns from {old} to {call.value}", f"{its} is now {call.value}")
        clauses.append(rng.choice(wordings))
    return " , ".join(clauses)


_STYLES = {"short": _short, "facts": _facts, "walk": _walk, "caption": _caption, "wordy": _wordy}


# --- faults -------------------------------------------------------------------------------------


def _misled(pair: Pair, facts: skills.Facts, rng: random.Random) -> Belief:
    """A belief with other calls, and so another answer: one altered, dropped or added."""
    truth = calls_of(pair)
    right = skills.asked(pair.before, facts, truth)
    while True:
        calls = list(truth)
        kind = rng.choice(("alter", "alter", "drop", "add"))
        if kind in ("drop", "alter"):
            calls.pop(rng.randrange(len(calls)))
        if kind in ("add", "alter"):
            calls.append(random_call(rng, pair.before, FUNCTIONS))
        taken = {(call.thing, call.function) for call in calls}
        unlike = skills.asked(pair.before, facts, calls) != right and len(taken) == len(calls) > 0
        if unlike and len(calls) <= max(4, len(truth)) and applied(pair.before, calls) is not None:
            return _believing(pair, calls)


def _harmless(truth: Belief, rng: random.Random) -> Belief:
    """The right calls, with one thing at a wrong, empty cell of the first picture."""
    number = rng.randrange(len(truth.before))
    full = {thing.cell for thing in truth.before}
    wrong = rng.choice([cell for cell in CELLS if cell not in full])
    things = list(truth.before)
    things[number] = replace(things[number], cell=wrong)
    return replace(truth, before=tuple(things))
