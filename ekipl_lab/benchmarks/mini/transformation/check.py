"""Checks a transformation chain step by step against both pictures, whatever style it is in.

Fillers are dropped, which leaves sentences of these forms, ended by " . ":

    before|after : <cell> <number|words> , ...    a picture listed
    <number> [:] <cell> [words] [to] <cell> [words] [,] <clauses>
    <number> [:] <clauses>
    <number> [:] <cell> <cell> <verdict> (<word> <word> <verdict>)...    kind by kind

Verdicts are ``equal``, a direction, or the kind that differs. Clauses are ``same``, a direction,
``color blue`` or ``color red to blue``. Steps are: every cell and description, every list being
complete, every clause and verdict, and all changes having been named. The answer is supported if it
is exactly the changes that clauses and verdicts claim, or what takes them back where that is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ekipl_lab.benchmarks.mini.steps import ChainReport, Steps, Unread
from ekipl_lab.benchmarks.mini.transformation import skills
from ekipl_lab.benchmarks.mini.transformation.scene import (
    KIND_OF,
    KINDS,
    STEPS,
    Call,
    Pair,
    Thing,
    calls_of,
    pair_from_json,
    shown_after,
)
from ekipl_lab.types import Sample

#: Words that say nothing of the scene.
_FILLERS = frozenset(
    re.findall("[a-z]+", "object thing the is it stays and goes from that moved its turns now to")
)
_NUMBER = re.compile("[0-9]{1,3}")
_CALL = re.compile(r"change_([a-z]+)\(\s*([0-9]{1,3})\s*,\s*'?([a-z_]+)'?\s*\)")


@dataclass(kw_only=True)
class _Steps(Steps):
    """Steps read so far and the changes claimed."""

    pair: Pair
    truth: set[Call]
    claimed: set[Call] = field(default_factory=set)

    def shown(self, name: str) -> tuple[Thing, ...]:
        """The things of the picture ``before`` or ``after``, by number."""
        return self.pair.before if name == "before" else shown_after(self.pair)

    def claim(self, call: Call, text: str, holds: bool = True) -> None:
        """A step that names a change."""
        self.claimed.add(call)
        self.note(holds and call in self.truth, text)


def check(sample: Sample, reasoning: str, answer: str) -> ChainReport:
    """The report on the reasoning and answer of a completion for a transformation sample."""
    pair, facts = pair_from_json(sample.metadata["scene"]), sample.metadata["query"]
    if facts["form"] in skills.FORMS:
        return skills.check(pair, facts, reasoning.lower(), answer)
    steps = _Steps(pair=pair, truth=set(calls_of(pair)))
    steps.read(reasoning, lambda sentence: _read_sentence(steps, sentence), signs=".,:")
    steps.note(steps.truth <= steps.claimed, "changes complete")
    given = _calls(answer)
    claimed, true = (skills.asked(pair.before, facts, one) for one in (steps.claimed, steps.truth))
    return steps.report(answer, supported=given == claimed, correct=given == true)


def _calls(answer: str) -> set[Call] | None:
    """The calls of an answer, None if it holds anything else."""
    calls = {Call(int(found[2]), found[1], found[3]) for found in _CALL.finditer(answer)}
    left = _CALL.sub("", answer).replace(",", "").strip()
    return None if left or not calls else calls


def _read_sentence(steps: _Steps, sentence: str) -> None:
    words = [word for word in sentence.split() if word not in _FILLERS]
    if words and words[0] in ("before", "after"):
        _read_picture(steps, words)
    elif words:
        _read_thing(steps, [word for word in words if word != ":"])


def _cell(word: str) -> int | None:
    return int(word[1:]) if re.fullmatch("p[0-9]{1,3}", word) else None


def _read_picture(steps: _Steps, words: list[str]) -> None:
    """``before : p2 0 , p7 1`` or ``before : p2 small red rubber cube , ...``."""
    name, colon, *rest = *words, *[""] * (2 - len(words))
    if colon != ":":
        raise Unread
    shown = steps.shown(name)
    seen = set()
    for item in " ".join(rest).split(" , "):
        cell_word, *said = item.split() or [""]
        cell = _cell(cell_word)
        if cell is None or not said:
            raise Unread
        found = [number for number, thing in enumerate(shown) if thing.cell == cell]
        holds = bool(found) and cell not in seen and _said_holds(said, found[0], shown)
        steps.note(holds, f"{name} {item}")
        seen.add(cell)
    steps.note({thing.cell for thing in shown} <= seen, f"{name} complete")


def _said_holds(said: Sequence[str], number: int, shown: Sequence[Thing]) -> bool:
    """Whether a number or attribute words fit the thing; Unread for other words."""
    if len(said) == 1 and _NUMBER.fullmatch(said[0]):
        return int(said[0]) == number
    if any(word not in KIND_OF for word in said):
        raise Unread
    return set(said) <= set(shown[number].words.split())


def _read_thing(steps: _Steps, words: list[str]) -> None:
    """A thing by number, perhaps its cells and looks in both pictures, and its changes."""
    numbers = [place for place, word in enumerate(words) if _NUMBER.fullmatch(word)]
    if len(numbers) != 1 or int(words[numbers[0]]) >= len(steps.pair.before):
        raise Unread
    number = int(words[numbers[0]])
    lead, rest = words[: numbers[0]], words[numbers[0] + 1 :]
    if lead:
        steps.note(_said_holds(lead, number, steps.pair.before), f"{' '.join(lead)} {number}")
    if len(rest) > 2 and rest[2] in ("equal", *STEPS) and "," not in rest:
        _read_walk(steps, number, rest)
        return
    if sum(_cell(word) is not None for word in rest) not in (0, 2):
        raise Unread
    for clause in " ".join(rest).split(" , "):
        parts = clause.split()
        if parts and _cell(parts[0]) is not None:
            parts = _read_cells(steps, number, parts)
        parts = [part for part in parts if part != ","]
        if parts:
            _read_clause(steps, number, parts)


def _read_cells(steps: _Steps, number: int, parts: list[str]) -> list[str]:
    """``p7 small red rubber cube p8 small blue rubber cube``: first picture, then second.

    Returns the words after them, a clause if there are any.
    """
    starts = [place for place, word in enumerate(parts) if _cell(word) is not None]
    if len(starts) != 2:
        raise Unread
    stop = starts[1] + 1
    while stop < len(parts) and parts[stop] in KIND_OF:
        stop += 1
    for name, start, end in (("before", 0, starts[1]), ("after", starts[1], stop)):
        shown = steps.shown(name)
        said = parts[start + 1 : end]
        holds = shown[number].cell == _cell(parts[start])
        holds = holds and (not said or _said_holds(said, number, shown))
        steps.note(holds, f"{name} {number} {' '.join(parts[start:end])}")
    return parts[stop:]


def _read_walk(steps: _Steps, number: int, words: list[str]) -> None:
    """``p2 p3 right small small equal red blue color ...`` of one thing."""
    if len(words) % 3:
        raise Unread
    before, after = steps.pair.before[number], shown_after(steps.pair)[number]
    moved = any(c.function == "position" and c.thing == number for c in steps.truth)
    first, second, step = words[:3]
    steps.note(_cell(first) == before.cell, f"before {number} {first}")
    steps.note(_cell(second) == after.cell, f"after {number} {second}")
    if step == "equal":
        steps.note(not moved, f"{number} {first} {second} equal")
    else:
        steps.claim(Call(number, "position", step), f"{number} {step}")
    for at in range(3, len(words), 3):
        _read_kind(steps, number, words[at : at + 3], (before, after))


def _read_kind(steps: _Steps, number: int, words: list[str], things: tuple[Thing, Thing]) -> None:
    """``red blue color`` or ``small small equal``."""
    old, new, verdict = words
    kind = KIND_OF.get(old)
    if kind is None or KIND_OF.get(new) != kind or verdict not in ("equal", kind):
        raise Unread
    text = f"{number} {' '.join(words)}"
    seen = [getattr(thing, kind) for thing in things] == [old, new]
    if verdict == "equal":
        steps.note(seen and old == new, text)
    else:
        steps.claim(Call(number, kind, new), text, seen)


def _read_clause(steps: _Steps, number: int, parts: list[str]) -> None:
    """One claimed change, or ``same``."""
    text = f"{number} {' '.join(parts)}"
    if parts == ["same"]:
        steps.note(all(call.thing != number for call in steps.truth), text)
    elif len(parts) == 1 and parts[0] in STEPS:
        steps.claim(Call(number, "position", parts[0]), text)
    elif (
        len(parts) in (2, 3)
        and parts[0] in KINDS
        and {parts[0]} == {KIND_OF.get(part) for part in parts[1:]}
    ):
        old_holds = len(parts) == 2 or getattr(steps.pair.before[number], parts[0]) == parts[1]
        steps.claim(Call(number, parts[0], parts[-1]), text, old_holds)
    else:
        raise Unread
