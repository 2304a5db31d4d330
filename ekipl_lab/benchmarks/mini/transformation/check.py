"""Checks a transformation chain step by step against both pictures, whatever style it is in.

Fillers are dropped, which leaves sentences of these forms, ended by " . ":

    before|after : <cell> <number|words> , ...    a picture listed
    <number> [:] <cell> [words] [to] <cell> [words] [,] <clauses>
    <number> [:] <clauses>
    <number> [:] <cell> <cell> <verdict> (<word> <word> <verdict>)...    kind by kind

Verdicts are ``equal``, a direction, or the kind that differs. Clauses are ``same``, a direction,
``color blue`` or ``color red to blue``. Steps are: every cell and description, every list being
complete, every clause and verdict, and all changes having been named. The answer is supported if it
is exactly the changes that clauses and verdicts claim.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ekipl_lab.benchmarks.mini.chain_report import ChainReport, split_completion, unreadable
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

_FILLERS = frozenset(
    re.findall("[a-z]+", "object thing the is it stays and goes from that moved its turns now to")
)
_NUMBER = re.compile("[0-9]{1,3}")
_CALL = re.compile(r"change_([a-z]+)\(\s*([0-9]{1,3})\s*,\s*'?([a-z_]+)'?\s*\)")


class _Unread(Exception):
    """A sentence that is not in the grammar."""


@dataclass
class _Ledger:
    """Steps read so far and the changes claimed."""

    pair: Pair
    true: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    claimed: set[Call] = field(default_factory=set)

    def note(self, holds: bool, text: str) -> None:
        (self.true if holds else self.false).append(text)


def check(sample: Sample, text: str) -> ChainReport:
    """The report on a completion for a transformation sample."""
    parts = split_completion(text)
    if parts is None:
        return unreadable(text)
    think, answer = parts
    pair, facts = pair_from_json(sample.metadata["scene"]), sample.metadata["query"]
    if facts["form"] in skills.FORMS:
        return skills.check(pair, facts, think.lower(), answer)
    ledger = _Ledger(pair)
    unread = _read(ledger, think)
    given = _calls(answer)
    truth = set(calls_of(pair))
    ledger.note(truth <= ledger.claimed, "changes complete")
    return ChainReport(
        tuple(ledger.true),
        tuple(ledger.false),
        unread,
        answer,
        given is not None and given == ledger.claimed,
        given == truth,
    )


def _calls(answer: str) -> set[Call] | None:
    """The calls of an answer, None if it holds anything else."""
    calls = {Call(int(found[2]), found[1], found[3]) for found in _CALL.finditer(answer)}
    left = _CALL.sub("", answer).replace(",", "").strip()
    return None if left or not calls else calls


def _read(ledger: _Ledger, think: str) -> tuple[str, ...]:
    """Reads every sentence into the ledger; returns those that cannot be read."""
    unread = []
    spaced = re.sub(r"([.,:])", r" \1 ", think.lower())
    for sentence in re.split(r"\s\.(?:\s|$)", spaced):
        words = [word for word in sentence.split() if word not in _FILLERS]
        if not words:
            continue
        try:
            if words[0] in ("before", "after"):
                _read_picture(ledger, words)
            else:
                _read_thing(ledger, [word for word in words if word != ":"])
        except _Unread:
            unread.append(" ".join(sentence.split()))
    return tuple(unread)


def _cell(word: str) -> int | None:
    return int(word[1:]) if re.fullmatch("p[0-9]{1,3}", word) else None


def _shown(ledger: _Ledger, name: str) -> tuple[Thing, ...]:
    return ledger.pair.before if name == "before" else shown_after(ledger.pair)


def _read_picture(ledger: _Ledger, words: list[str]) -> None:
    """``before : p2 0 , p7 1`` or ``before : p2 small red rubber cube , ...``."""
    name, colon, *rest = *words, *[""] * (2 - len(words))
    if colon != ":":
        raise _Unread
    shown = _shown(ledger, name)
    seen = set()
    for item in " ".join(rest).split(" , "):
        cell_word, *said = item.split() or [""]
        cell = _cell(cell_word)
        if cell is None or not said:
            raise _Unread
        found = [number for number, thing in enumerate(shown) if thing.cell == cell]
        holds = bool(found) and cell not in seen and _said_holds(said, found[0], shown)
        ledger.note(holds, f"{name} {item}")
        seen.add(cell)
    ledger.note({thing.cell for thing in shown} <= seen, f"{name} complete")


def _said_holds(said: Sequence[str], number: int, shown: Sequence[Thing]) -> bool:
    """Whether a number or attribute words fit the thing; _Unread for other words."""
    if len(said) == 1 and _NUMBER.fullmatch(said[0]):
        return int(said[0]) == number
    if any(word not in KIND_OF for word in said):
        raise _Unread
    return set(said) <= set(shown[number].words.split())


def _read_thing(ledger: _Ledger, words: list[str]) -> None:
    """A thing by number, perhaps its cells and looks in both pictures, and its changes."""
    numbers = [place for place, word in enumerate(words) if _NUMBER.fullmatch(word)]
    if len(numbers) != 1 or int(words[numbers[0]]) >= len(ledger.pair.before):
        raise _Unread
    number = int(words[numbers[0]])
    lead, rest = words[: numbers[0]], words[numbers[0] + 1 :]
    if lead:
        ledger.note(_said_holds(lead, number, ledger.pair.before), f"{' '.join(lead)} {number}")
    if len(rest) > 2 and rest[2] in ("equal", *STEPS) and "," not in rest:
        _read_walk(ledger, number, rest)
        return
    cells = [word for word in rest if _cell(word) is not None]
    if len(cells) not in (0, 2):
        raise _Unread
    clauses = " ".join(rest).split(" , ")
    for clause in clauses:
        parts = clause.split()
        if parts and _cell(parts[0]) is not None:
            parts = _read_cells(ledger, number, parts)
        parts = [part for part in parts if part != ","]
        if parts:
            _read_clause(ledger, number, parts)


def _read_cells(ledger: _Ledger, number: int, parts: list[str]) -> list[str]:
    """``p7 small red rubber cube p8 small blue rubber cube``: first picture, then second.

    Returns the words after them, a clause if there are any.
    """
    starts = [place for place, word in enumerate(parts) if _cell(word) is not None]
    if len(starts) != 2:
        raise _Unread
    stop = starts[1] + 1
    while stop < len(parts) and parts[stop] in KIND_OF:
        stop += 1
    for name, start, end in (("before", 0, starts[1]), ("after", starts[1], stop)):
        shown = _shown(ledger, name)
        said = parts[start + 1 : end]
        holds = shown[number].cell == _cell(parts[start])
        holds = holds and (not said or _said_holds(said, number, shown))
        ledger.note(holds, f"{name} {number} {' '.join(parts[start:end])}")
    return parts[stop:]


def _read_walk(ledger: _Ledger, number: int, words: list[str]) -> None:
    """``p2 p3 right small small equal red blue color ...`` of one thing."""
    if len(words) % 3:
        raise _Unread
    before, after = ledger.pair.before[number], shown_after(ledger.pair)[number]
    moved = any(c.function == "position" and c.thing == number for c in calls_of(ledger.pair))
    first, second, step = words[:3]
    ledger.note(_cell(first) == before.cell, f"before {number} {first}")
    ledger.note(_cell(second) == after.cell, f"after {number} {second}")
    if step == "equal":
        ledger.note(not moved, f"{number} {first} {second} equal")
    else:
        _claim(ledger, Call(number, "position", step), f"{number} {step}")
    for at in range(3, len(words), 3):
        _read_kind(ledger, number, words[at : at + 3], (before, after))


def _read_kind(ledger: _Ledger, number: int, words: list[str], things: tuple[Thing, Thing]) -> None:
    """``red blue color`` or ``small small equal``."""
    old, new, verdict = words
    kind = KIND_OF.get(old)
    if kind is None or KIND_OF.get(new) != kind or verdict not in ("equal", kind):
        raise _Unread
    text = f"{number} {' '.join(words)}"
    seen = [getattr(thing, kind) for thing in things] == [old, new]
    if verdict == "equal":
        ledger.note(seen and old == new, text)
    else:
        _claim(ledger, Call(number, kind, new), text, seen)


def _read_clause(ledger: _Ledger, number: int, parts: list[str]) -> None:
    """One claimed change, or ``same``."""
    truth = {call for call in calls_of(ledger.pair) if call.thing == number}
    text = f"{number} {' '.join(parts)}"
    if parts == ["same"]:
        ledger.note(not truth, text)
    elif len(parts) == 1 and parts[0] in STEPS:
        _claim(ledger, Call(number, "position", parts[0]), text)
    elif (
        len(parts) in (2, 3)
        and parts[0] in KINDS
        and {parts[0]} == {KIND_OF.get(part) for part in parts[1:]}
    ):
        old_holds = len(parts) == 2 or getattr(ledger.pair.before[number], parts[0]) == parts[1]
        _claim(ledger, Call(number, parts[0], parts[-1]), text, old_holds)
    else:
        raise _Unread


def _claim(ledger: _Ledger, call: Call, text: str, holds: bool = True) -> None:
    ledger.claimed.add(call)
    ledger.note(holds and call in calls_of(ledger.pair), text)
