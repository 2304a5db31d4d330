"""Checks a geometry chain step by step against the figure, whatever style it is in.

Fillers are dropped, which leaves sentences of these forms, ended by " . ":

    [<figure> :] [<place>] <n|x> , ...      labels as read
    <n> <sign> <n> = <n>  |  root <n> = <n> an operation
    angles add to <n>                       a rule
    x is <n>  |  area <n> , perimeter <n>   a conclusion
    <n> is <letter>                         a choice
    <figure>                                a figure's name

Steps are: every label read (in the figure, at the place said), the reading being complete, every
operation (right, and on numbers that were given, known or computed before), rule, name and
conclusion. The answer is supported if operations gave its numbers and the last operation gave the
last of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ekipl_lab.benchmarks.mini.geometry.chains import KIND_WORDS, LETTERS, truth_of
from ekipl_lab.benchmarks.mini.geometry.figure import Figure, figure_from_json, place_of
from ekipl_lab.benchmarks.mini.geometry.plans import (
    ANGLE_ASKED,
    LENGTH_ASKED,
    operate,
    total_of,
)
from ekipl_lab.benchmarks.mini.steps import LOOK, ChainReport, Steps, Unread
from ekipl_lab.types import Sample

#: Words that say nothing of the scene.
_FILLERS = frozenset(
    re.findall("[a-z]+", "i see a this the figure labels are read it says so then next get and")
)
_PLACES = frozenset(("top", "middle", "bottom", "left", "right"))
_KINDS = frozenset(KIND_WORDS.values())
_DIGITS = "[0-9]{1,6}"
_NUMBER = re.compile(_DIGITS)
_EQUATION = re.compile(rf"(?:(root) ({_DIGITS})|({_DIGITS}) ([-+*/]) ({_DIGITS})) = (-?{_DIGITS})")
_SLOGANS = ("squares of legs add up", "area perimeter")


@dataclass(kw_only=True)
class _Steps(Steps):
    """Steps read so far and the numbers that operations may use."""

    figure: Figure
    choices: tuple[str, ...]
    known: set[int]
    results: list[int] = field(default_factory=list)
    letters: dict[str, str] = field(default_factory=dict)


def check(sample: Sample, reasoning: str, answer: str) -> ChainReport:
    """The report on the reasoning and answer of a completion for a geometry sample."""
    answer = " ".join(answer.replace(",", " ").split())
    correct = answer == sample.answer
    form = sample.metadata["query"]["form"]
    if form in ("read", "arith") and reasoning in (LOOK, "look"):
        return Steps().report(answer, supported=correct, correct=correct)
    if form == "arith":
        return _check_arith(sample, reasoning, answer, correct)
    figure = figure_from_json(sample.metadata["scene"])
    squares = {value * value for value in figure.values}
    known = {*figure.values, *squares, 2, total_of(figure.kind)}
    steps = _Steps(figure=figure, choices=sample.choices, known=known)
    steps.read(reasoning, lambda sentence: _read_sentence(steps, sentence))
    if form == "read":
        supported = " ".join(reasoning.replace(",", " ").replace(".", " ").split()) == answer
    else:
        supported = _supported(steps, sample, answer)
    return steps.report(answer, supported=supported, correct=correct)


def _check_arith(sample: Sample, reasoning: str, answer: str, correct: bool) -> ChainReport:
    """One equation, which must be the one that was asked about."""
    found = _EQUATION.fullmatch(reasoning.removesuffix(".").strip())
    asked = sample.question.removesuffix("?")
    if not found or reasoning.partition(" = ")[0] != asked:
        return Steps(unread=[reasoning]).report(answer, supported=False, correct=correct)
    steps = Steps([(found[0], found[6] == sample.answer)])
    return steps.report(answer, supported=found[6] == answer, correct=correct)


def _supported(steps: _Steps, sample: Sample, answer: str) -> bool:
    if sample.answer_type == "letter":
        value = steps.letters.get(answer)
        return value is not None and steps.results[-1:] == [int(value)]
    words = answer.split()
    if not words or not all(_NUMBER.fullmatch(word) for word in words):
        return False
    numbers = [int(word) for word in words]
    wanted = len(truth_of(steps.figure).results)
    found = all(number in steps.results for number in numbers)
    return len(numbers) == wanted and found and steps.results[-1:] == numbers[-1:]


def _read_sentence(steps: _Steps, sentence: str) -> None:
    letter = re.search(rf"(?<![0-9])({_DIGITS})\s+is\s+([a-d])\s*$", sentence)
    words = [word for word in sentence.split() if word not in _FILLERS]
    if letter:
        _read_choice(steps, letter[1], letter[2].upper())
    elif words:
        _read_words(steps, " ".join(words).removeprefix("is "))


def _read_words(steps: _Steps, text: str) -> None:
    equation = _EQUATION.fullmatch(text)
    rule = re.fullmatch(f"angles add to ({_DIGITS})", text)
    if equation:
        _read_equation(steps, equation)
    elif rule:
        right = int(rule[1]) == total_of(steps.figure.kind)
        steps.note(right and steps.figure.asked in ANGLE_ASKED, text)
    elif text in _SLOGANS:
        asked = steps.figure.asked
        steps.note(asked == "area" if text.startswith("area") else asked in LENGTH_ASKED, text)
    elif text in _KINDS:
        steps.note(text == KIND_WORDS[steps.figure.kind], text)
    elif re.fullmatch(f"x is {_DIGITS}|area {_DIGITS} , perimeter {_DIGITS}", text):
        stated = [int(number) for number in _NUMBER.findall(text)]
        steps.note(stated == _concluded(steps.figure, text.startswith("x")), text)
    else:
        _read_labels(steps, text)


def _concluded(figure: Figure, of_x: bool) -> list[int]:
    """The numbers of a true conclusion: x, or area and perimeter; nothing where there are none."""
    truth = truth_of(figure)
    if truth.plan.unknown is None:
        return [] if of_x else list(truth.results)
    return [truth.done[truth.plan.unknown][3]] if of_x else []


def _read_equation(steps: _Steps, found: re.Match[str]) -> None:
    result = int(found[6])
    if found[1]:
        numbers, sign = [int(found[2])], "root"
        exact = result * result == numbers[0]
    else:
        numbers, sign = [int(found[3]), int(found[5])], found[4]
        exact = sign != "/" or (numbers[1] != 0 and numbers[0] % numbers[1] == 0)
        exact = exact and operate(numbers[0], sign, numbers[1]) == result
    steps.note(exact and all(number in steps.known for number in numbers), found[0])
    steps.known.add(result)
    steps.results.append(result)


def _read_choice(steps: _Steps, number: str, letter: str) -> None:
    place = LETTERS.index(letter)
    holds = place < len(steps.choices) and steps.choices[place] == number
    steps.letters[letter] = number
    steps.note(holds, f"{number} is {letter}")


def _read_labels(steps: _Steps, text: str) -> None:
    """Labels as read, with a figure's name before a colon and places before numbers."""
    head, colon, rest = text.rpartition(" : ")
    if colon:
        if head not in _KINDS:
            raise Unread
        steps.note(head == KIND_WORDS[steps.figure.kind], head)
    left = [label.text for label in steps.figure.labels]
    place: list[str] = []
    for word in rest.replace(",", " ").split():
        if word in _PLACES:
            place.append(word)
        else:
            _read_label(steps, " ".join(place), word, left)
            place = []
    if place:
        raise Unread
    steps.note(set(left) <= {"x"}, "labels complete")


def _read_label(steps: _Steps, place: str, name: str, left: list[str]) -> None:
    """One label; takes it out of ``left``."""
    if not _NUMBER.fullmatch(name) and name != "x":
        raise Unread
    found = [label for label in steps.figure.labels if label.text == name]
    here = not place or any(place_of(label) == place for label in found)
    steps.note(name in left and here, f"{place} {name}".strip())
    if name in left:
        left.remove(name)
