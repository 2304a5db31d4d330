"""Reference chains of the geometry task, in five styles, right or wrong on purpose.

For a triangle with 50°, 60° and x:

short    50 , 60 . 50 + 60 = 110 . 180 - 110 = 70 .
facts    bottom left 50 , bottom right 60 , top x . 50 + 60 = 110 . 180 - 110 = 70 .
walk     50 , x , 60 . 50 + 60 = 110 . 180 - 110 = 70 . x is 70 .
caption  triangle : 50 , x , 60 . angles add to 180 . 50 + 60 = 110 . 180 - 110 = 70 .
wordy    I see a triangle . the labels are 50 and 60 . so 50 + 60 = 110 . ...

``short`` leaves squares out of Pythagoras (``6 , 8 . 36 + 64 = 100 . root 100 = 10 .``). A choice
question ends in ``70 is C .`` Where more than x is asked, steps follow on it: ``x is 70 .
2 * 70 = 140 .`` Without a picture (``solve_text``) the numbers come as the question
gives them, x last, and no places are named. The sub-skills ``read`` and ``arith`` say ``50 , x ,
60 .`` and ``50 + 60 = 110 .`` in the style ``walk``, and ``look .`` in the others.

Wrong answers come from a misread label or a slip in one operation; wrong chains misread a label, or
slip twice so that the result is right again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ekipl_lab.benchmarks.mini.geometry.figure import (
    Figure,
    figure_from_json,
    place_of,
    reading_order,
)
from ekipl_lab.benchmarks.mini.geometry.plans import (
    ANGLE_ASKED,
    LENGTH_ASKED,
    Done,
    Plan,
    answers,
    plan_for,
    run,
    total_of,
)
from ekipl_lab.benchmarks.mini.steps import LOOK, sentences
from ekipl_lab.types import Sample

LETTERS = "ABCD"
#: Kind of figure -> its name as chains say it.
KIND_WORDS = {
    "triangle": "triangle",
    "right_triangle": "right triangle",
    "sides": "right triangle",
    "rectangle": "rectangle",
    "diagonal": "rectangle",
    "quadrilateral": "quadrilateral",
    "parallelogram": "parallelogram",
    "line": "straight line",
    "point": "full turn",
}


@dataclass(frozen=True, slots=True)
class Belief:
    """What a chain claims: labels as read, the numbers used, and the operations done.

    ``seen`` is False where the numbers were given in words and no picture was shown.
    """

    figure: Figure
    plan: Plan
    read: tuple[int, ...]
    done: tuple[Done, ...]
    seen: bool = True

    @property
    def results(self) -> tuple[int, ...]:
        return answers(self.plan, self.done)


def truth_of(figure: Figure) -> Belief:
    """The belief that is right in everything."""
    plan = plan_for(figure.kind, len(figure.values), figure.asked)
    return Belief(figure, plan, figure.values, tuple(run(plan, figure.values)))


def write(sample: Sample, style: str, fault: str, rng: random.Random) -> tuple[str, str]:
    """Reasoning and answer for a geometry sample; see ``ekipl_lab.benchmarks.mini.chains``."""
    form = sample.metadata["query"]["form"]
    if form in ("read", "arith"):
        answer = sample.answer if fault == "none" else _wrong_skill(sample, rng)
        return _skill_chain(sample, style, answer), answer
    truth = truth_of(figure_from_json(sample.metadata["scene"]))
    belief = truth = replace(truth, seen=form != "solve_text")
    if fault == "wrong_answer":
        belief = _misled(sample, truth, rng)
    elif fault == "wrong_chain":
        belief = _harmless(truth, rng)
    answer = " ".join(map(str, belief.results))
    said = _STYLES[style](belief, rng)
    if sample.answer_type == "letter":
        answer = LETTERS[sample.choices.index(answer)]
        said.append(f"{belief.results[0]} is {answer}")
    return sentences(said), answer


# --- styles -------------------------------------------------------------------------------------


def _equation(step: Done) -> str:
    """``50 + 60 = 110`` or ``root 100 = 10``."""
    left, sign, right, result = step
    return f"{f'root {left}' if sign == 'root' else f'{left} {sign} {right}'} = {result}"


def _equations(belief: Belief, squares: bool) -> list[str]:
    hide = not squares and belief.figure.asked in LENGTH_ASKED
    return [_equation(step) for step in (belief.done[2:] if hide else belief.done)]


def _concluded(belief: Belief, equations: list[str]) -> list[str]:
    """``equations`` with the conclusion where it is reached: once x is known, or at the end."""
    place = len(equations) if belief.plan.unknown is None else belief.plan.unknown + 1
    return [*equations[:place], _conclusion(belief), *equations[place:]]


def _as_read(belief: Belief) -> list[str]:
    """Labels from left to right as they were read, ``x`` included."""
    if not belief.seen:
        return [*map(str, belief.read), *(["x"] if belief.figure.asked != "area" else [])]
    names = [label.text for label in reading_order(belief.figure)]
    for value, seen in zip(belief.figure.values, belief.read, strict=True):
        names[names.index(str(value))] = f"*{seen}"
    return [name.removeprefix("*") for name in names]


def _short(belief: Belief, rng: random.Random) -> list[str]:
    return [" , ".join(map(str, belief.read)), *_equations(belief, squares=False)]


def _facts(belief: Belief, rng: random.Random) -> list[str]:
    named = _as_read(belief)
    if belief.seen:
        places = [place_of(label) for label in reading_order(belief.figure)]
        named = [f"{place} {name}" for place, name in zip(places, named, strict=True)]
    return [" , ".join(named), *_equations(belief, squares=True)]


def _conclusion(belief: Belief) -> str:
    if belief.plan.unknown is None:
        return "area {} , perimeter {}".format(*belief.results)
    return f"x is {belief.done[belief.plan.unknown][3]}"


def _walk(belief: Belief, rng: random.Random) -> list[str]:
    equations = _equations(belief, squares=True)
    return [" , ".join(_as_read(belief)), *_concluded(belief, equations)]


def _rule(figure: Figure) -> str:
    if figure.asked in ANGLE_ASKED:
        return f"angles add to {total_of(figure.kind)}"
    return "squares of the legs add up" if figure.asked != "area" else "area then perimeter"


def _caption(belief: Belief, rng: random.Random) -> list[str]:
    named = f"{KIND_WORDS[belief.figure.kind]} : {' , '.join(_as_read(belief))}"
    return [named, _rule(belief.figure), *_equations(belief, squares=True)]


def _wordy(belief: Belief, rng: random.Random) -> list[str]:
    kind = KIND_WORDS[belief.figure.kind]
    opening = rng.choice((f"I see a {kind}", f"this is a {kind}", f"the figure is a {kind}"))
    labels = " and ".join(map(str, belief.read))
    reading = rng.choice((f"the labels are {labels}", f"I read {labels}", f"it says {labels}"))
    steps = [
        rng.choice(("so ", "then ", "next I get ", "")) + text
        for text in _equations(belief, squares=True)
    ]
    steps = _concluded(belief, steps) if rng.random() < 0.7 else steps
    first = [opening, reading] if rng.random() < 0.7 else [reading, opening]
    rule = [_rule(belief.figure)] if rng.random() < 0.5 else []
    return [*first, *rule, *steps]


_STYLES = {"short": _short, "facts": _facts, "walk": _walk, "caption": _caption, "wordy": _wordy}


# --- faults -------------------------------------------------------------------------------------


def _misread(figure: Figure, rng: random.Random) -> tuple[int, ...]:
    """The given numbers with one digit of one of them read as another."""
    values = list(figure.values)
    place = rng.randrange(len(values))
    while values[place] == figure.values[place] or values[place] == 0:
        digits = list(str(figure.values[place]))
        digits[rng.randrange(len(digits))] = str(rng.randrange(10))
        values[place] = int("".join(digits))
    return tuple(values)


def _misled(sample: Sample, truth: Belief, rng: random.Random) -> Belief:
    """A belief with a wrong answer: a misread label or a slip in one operation."""
    while True:
        if rng.random() < 0.5:
            read = _misread(truth.figure, rng)
            belief = replace(truth, read=read, done=tuple(run(truth.plan, read)))
        else:
            place = rng.randrange(len(truth.plan.steps))
            size = 10 if truth.done[place][3] % 10 == 0 else 1
            slips = {place: rng.choice((-size, size))}
            belief = replace(truth, done=tuple(run(truth.plan, truth.read, slips)))
        text = " ".join(map(str, belief.results))
        usable = min(belief.results) > 0 and text != " ".join(map(str, truth.results))
        if usable and (sample.answer_type != "letter" or text in sample.choices):
            return belief
        if sample.answer_type == "letter":
            return _other_choice(sample, truth, rng)


def _other_choice(sample: Sample, truth: Belief, rng: random.Random) -> Belief:
    """A slip in the last operation that lands on another choice."""
    right = truth.results[0]
    wrong = int(rng.choice([choice for choice in sample.choices if int(choice) != right]))
    last = len(truth.plan.steps) - 1
    return replace(truth, done=tuple(run(truth.plan, truth.read, {last: wrong - right})))


def _harmless(truth: Belief, rng: random.Random) -> Belief:
    """A belief with a false step and the right answer: a misread label, or two opposite slips."""
    signs = [step.sign for step in truth.plan.steps[:2]]
    if signs == ["+", "-"] and rng.random() < 0.5:
        slips = {0: 10, 1: 10}
        return replace(truth, done=tuple(run(truth.plan, truth.read, slips)))
    return replace(truth, read=_misread(truth.figure, rng))


def _skill_chain(sample: Sample, style: str, answer: str) -> str:
    """What the chain of style ``walk`` says of a sub-skill; ``look .`` in the other styles."""
    if style != "walk":
        return LOOK
    if sample.metadata["query"]["form"] == "read":
        return " , ".join(answer.split()) + " ."
    return f"{sample.question.removesuffix('?')} = {answer} ."


def _wrong_skill(sample: Sample, rng: random.Random) -> str:
    """The answer of a sub-skill with one number off by one to nine."""
    words = sample.answer.split()
    places = [place for place, word in enumerate(words) if word.isdigit()]
    place = rng.choice(places)
    words[place] = str(int(words[place]) + rng.randint(1, 9))
    return " ".join(words)
