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

from ekipl_lab.benchmarks.mini.chain_report import ChainReport, split_completion, unreadable
from ekipl_lab.benchmarks.mini.geometry.chains import kind_words, total_of, truth_of
from ekipl_lab.benchmarks.mini.geometry.figure import Figure, figure_from_json, place_of
from ekipl_lab.benchmarks.mini.geometry.plans import operate
from ekipl_lab.types import Sample

_FILLERS = frozenset(
    re.findall("[a-z]+", "i see a this the figure labels are read it says so then next get and")
)
_PLACES = frozenset(("top", "middle", "bottom", "left", "right"))
_KINDS = (
    "full turn",
    "parallelogram",
    "triangle",
    "right triangle",
    "rectangle",
    "straight line",
    "quadrilateral",
)
_DIGITS = "[0-9]{1,6}"
_NUMBER = re.compile(_DIGITS)
_EQUATION = re.compile(rf"(?:(root) ({_DIGITS})|({_DIGITS}) ([-+*/]) ({_DIGITS})) = (-?{_DIGITS})")
_SLOGANS = ("squares of legs add up", "area perimeter")


class _Unread(Exception):
    """A sentence that is not in the grammar."""


@dataclass
class _Ledger:
    """Steps read so far and the numbers that operations may use."""

    figure: Figure
    choices: tuple[str, ...]
    known: set[int]
    true: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    letters: dict[str, str] = field(default_factory=dict)

    def note(self, holds: bool, text: str) -> None:
        (self.true if holds else self.false).append(text)


def check(sample: Sample, text: str) -> ChainReport:
    """The report on a completion for a geometry sample."""
    parts = split_completion(text)
    if parts is None:
        return unreadable(text)
    think, answer = parts
    answer = " ".join(answer.replace(",", " ").split())
    correct = answer == sample.answer
    form = sample.metadata["query"]["form"]
    if form in ("read", "arith") and think in ("look .", "look"):
        return ChainReport((), (), (), answer, correct, correct)
    if form == "arith":
        return _check_arith(sample, think, answer, correct)
    figure = figure_from_json(sample.metadata["scene"])
    squares = {value * value for value in figure.values}
    known = {*figure.values, *squares, 2, total_of(figure)}
    ledger = _Ledger(figure, sample.choices, known)
    unread = _read(ledger, think)
    return ChainReport(
        tuple(ledger.true),
        tuple(ledger.false),
        unread,
        answer,
        _supported(ledger, sample, answer) if form != "read" else _words(think) == answer,
        correct,
    )


def _words(think: str) -> str:
    return " ".join(think.replace(",", " ").replace(".", " ").split())


def _check_arith(sample: Sample, think: str, answer: str, correct: bool) -> ChainReport:
    """One equation, which must be the one that was asked about."""
    found = _EQUATION.fullmatch(think.removesuffix(".").strip())
    asked = sample.question.removesuffix("?")
    if not found or think.partition(" = ")[0] != asked:
        return ChainReport((), (), (think,), answer, False, correct)
    holds = found[6] == sample.answer
    true, false = ((found[0],), ()) if holds else ((), (found[0],))
    return ChainReport(true, false, (), answer, found[6] == answer, correct)


def _supported(ledger: _Ledger, sample: Sample, answer: str) -> bool:
    if sample.answer_type == "letter":
        value = ledger.letters.get(answer)
        return value is not None and ledger.results[-1:] == [int(value)]
    words = answer.split()
    if not words or not all(_NUMBER.fullmatch(word) for word in words):
        return False
    numbers = [int(word) for word in words]
    wanted = len(truth_of(ledger.figure).results)
    found = all(number in ledger.results for number in numbers)
    return len(numbers) == wanted and found and ledger.results[-1:] == numbers[-1:]


def _read(ledger: _Ledger, think: str) -> tuple[str, ...]:
    """Reads every sentence into the ledger; returns those that cannot be read."""
    unread = []
    spaced = re.sub(r"([.,:=])", r" \1 ", think.lower())
    for sentence in re.split(r"\s\.(?:\s|$)", spaced):
        letter = re.search(rf"(?<![0-9])({_DIGITS})\s+is\s+([a-d])\s*$", sentence)
        words = [word for word in sentence.split() if word not in _FILLERS]
        try:
            if letter:
                _read_choice(ledger, letter[1], letter[2].upper())
            elif words:
                _read_sentence(ledger, words)
        except _Unread:
            unread.append(" ".join(sentence.split()))
    return tuple(unread)


def _read_sentence(ledger: _Ledger, words: list[str]) -> None:
    text = " ".join(words).removeprefix("is ")
    equation = _EQUATION.fullmatch(text)
    rule = re.fullmatch(f"angles add to ({_DIGITS})", text)
    if equation:
        _read_equation(ledger, equation)
    elif rule:
        ledger.note(
            ledger.figure.asked == "angle" and int(rule[1]) == total_of(ledger.figure), text
        )
    elif text in _SLOGANS:
        area = ledger.figure.asked == "area"
        ledger.note(area == text.startswith("area") and ledger.figure.asked != "angle", text)
    elif text in _KINDS:
        ledger.note(text == kind_words(ledger.figure.kind), text)
    elif re.fullmatch(f"x is {_DIGITS}|area {_DIGITS} , perimeter {_DIGITS}", text):
        stated = tuple(int(number) for number in _NUMBER.findall(text))
        ledger.note(stated == truth_of(ledger.figure).results, text)
    else:
        _read_labels(ledger, text)


def _read_equation(ledger: _Ledger, found: re.Match[str]) -> None:
    result = int(found[6])
    if found[1]:
        numbers, sign = [int(found[2])], "root"
        exact = result * result == numbers[0]
    else:
        numbers, sign = [int(found[3]), int(found[5])], found[4]
        exact = sign != "/" or (numbers[1] != 0 and numbers[0] % numbers[1] == 0)
        exact = exact and operate(numbers[0], sign, numbers[1]) == result
    ledger.note(exact and all(number in ledger.known for number in numbers), found[0])
    ledger.known.add(result)
    ledger.results.append(result)


def _read_choice(ledger: _Ledger, number: str, letter: str) -> None:
    place = "ABCD".index(letter)
    holds = place < len(ledger.choices) and ledger.choices[place] == number
    ledger.letters[letter] = number
    ledger.note(holds, f"{number} is {letter}")


def _read_labels(ledger: _Ledger, text: str) -> None:
    """Labels as read, with a figure's name before a colon and places before numbers."""
    head, colon, rest = text.rpartition(" : ")
    if colon:
        if head not in _KINDS:
            raise _Unread
        ledger.note(head == kind_words(ledger.figure.kind), head)
    left = [label.text for label in ledger.figure.labels]
    place: list[str] = []
    for word in rest.replace(",", " ").split():
        if word in _PLACES:
            place.append(word)
        else:
            _read_label(ledger, " ".join(place), word, left)
            place = []
    if place:
        raise _Unread
    ledger.note(set(left) <= {"x"}, "labels complete")


def _read_label(ledger: _Ledger, place: str, name: str, left: list[str]) -> None:
    """One label; takes it out of ``left``."""
    if not _NUMBER.fullmatch(name) and name != "x":
        raise _Unread
    found = [label for label in ledger.figure.labels if label.text == name]
    here = not place or any(place_of(label) == place for label in found)
    ledger.note(name in left and here, f"{place} {name}".strip())
    if name in left:
        left.remove(name)
