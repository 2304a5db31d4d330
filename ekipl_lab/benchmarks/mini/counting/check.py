"""Checks a counting chain step by step against the scene, whatever style it is in.

Filler words are dropped and synonyms mapped ("take away" -> "remove"), which leaves one small
grammar; sentences end in " . ":

    remove <predicate> : <items>          things taken away
    <predicate> : <items> , so <n>        things found, and their number
    <predicate> <n>                       a number alone
    <items>                               the whole scene, with yes/no/gone flags in a walk
    <n> - <n> = <n> , more <predicate>    a comparison (or: equal)

An item is a cell and words: ``p7 small red cube``. Steps are: every item, every list being complete
and without repeats, every number, every subtraction, every verdict. A policy's own chain is read by
the same grammar; what cannot be read is reported, never taken as true.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ekipl_lab.benchmarks.mini.chain_report import ChainReport, split_completion, unreadable
from ekipl_lab.benchmarks.mini.counting import skills
from ekipl_lab.benchmarks.mini.counting.query import (
    Predicate,
    Query,
    answer_from_counts,
    cells_of,
    matches,
    query_from_json,
    removed,
)
from ekipl_lab.benchmarks.mini.counting.scene import ATTRIBUTES, KIND_OF, Scene, scene_from_json
from ekipl_lab.types import Sample

_FILLERS = frozenset(
    re.findall(
        "[a-z]+", "i look for see that makes now the they are at there count first and things"
    )
)
_SYNONYMS = {"balls": "ball", "cubes": "cube", "cones": "cone", "without": "remove"}
_NUMBER = re.compile(r"\d{1,3}")
_CELL = re.compile(r"p\d{1,3}")


class _Unread(Exception):
    """A sentence that is not in the grammar."""


@dataclass
class _Ledger:
    """Steps read so far, and what the chain claims of every count."""

    scene: Scene
    query: Query
    true: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    claimed: dict[Predicate, int] = field(default_factory=dict)

    def note(self, holds: bool, text: str) -> None:
        (self.true if holds else self.false).append(text)


def check(sample: Sample, text: str) -> ChainReport:
    """The report on a completion for a counting sample."""
    parts = split_completion(text)
    if parts is None:
        return unreadable(text)
    think, answer = parts
    answer = " ".join(answer.replace(",", " , " if "," in sample.answer else " ").split())
    correct = answer == sample.answer
    facts = sample.metadata["query"]
    if facts["form"] in skills.FORMS:
        scene = scene_from_json(sample.metadata["scene"])
        return skills.check(scene, facts, think.lower(), answer)
    ledger = _Ledger(scene_from_json(sample.metadata["scene"]), query_from_json(facts))
    unread = _read(ledger, think)
    counts = [ledger.claimed.get(predicate) for predicate in ledger.query.count]
    known = [count for count in counts if count is not None]
    supported = len(known) == len(counts) and answer == answer_from_counts(ledger.query, known)
    return ChainReport(tuple(ledger.true), tuple(ledger.false), unread, answer, supported, correct)


def _read(ledger: _Ledger, think: str) -> tuple[str, ...]:
    """Reads every sentence into the ledger; returns those that cannot be read."""
    unread = []
    spaced = re.sub(r"([.,:=])", r" \1 ", think.lower()).replace("take away", "remove")
    for sentence in re.split(r"\s\.(?:\s|$)", spaced):
        words = [_SYNONYMS.get(word, word) for word in sentence.split() if word not in _FILLERS]
        if not words:
            continue
        try:
            _read_sentence(ledger, words)
        except _Unread:
            unread.append(" ".join(sentence.split()))
    return tuple(unread)


def _read_sentence(ledger: _Ledger, words: list[str]) -> None:
    if ":" in words:
        head, rest = words[: words.index(":")], words[words.index(":") + 1 :]
        head = [word for word in head if word != ","]
        if head[:1] == ["remove"]:
            _read_removal(ledger, _predicate(head[1:]), rest)
        else:
            _read_count(ledger, _predicate(head), rest)
    elif "=" in words:
        _read_comparison(ledger, words)
    elif _NUMBER.fullmatch(words[-1]):
        _note_number(ledger, _predicate(words[:-1]), words[-1])
    else:
        _read_scene(ledger, words)


def _predicate(words: list[str]) -> Predicate:
    """The words as a predicate in speaking order; _Unread unless they are attribute values."""
    kinds = [KIND_OF.get(word, "") for word in words]
    if not words or "" in kinds or len(set(kinds)) < len(kinds):
        raise _Unread
    order = list(ATTRIBUTES)
    return tuple(sorted(words, key=lambda word: order.index(KIND_OF[word])))


def _items(words: list[str]) -> list[list[str]]:
    """Splits ``p2 large red ball , p7`` into [["p2", "large", ...], ["p7"]]; "none" is empty."""
    words = [word for word in words if word != ","]
    if words == ["none"]:
        return []
    items: list[list[str]] = []
    for word in words:
        if _CELL.fullmatch(word):
            items.append([word])
        elif items:
            items[-1].append(word)
        else:
            raise _Unread
    if not items:
        raise _Unread
    return items


def _note_items(
    ledger: _Ledger,
    name: str,
    items: list[list[str]],
    wanted: tuple[int, ...],
    flags_hold: Callable[[int, list[str]], bool] | None = None,
) -> None:
    """Notes every item (right cell, true words, true flags) and that the list is complete."""
    seen = []
    for cell_word, *words in items:
        cell = int(cell_word[1:])
        look = ledger.scene.at(cell)
        flags = [word for word in words if word in ("yes", "no", "gone")]
        values = [word for word in words if word not in ("yes", "no", "gone")]
        if any(value not in KIND_OF for value in values) or (flags and not flags_hold):
            raise _Unread
        true = look is not None and cell in wanted and cell not in seen
        true = true and all(look is not None and value in look.values for value in values)
        if flags_hold is not None and flags:
            true = true and flags_hold(cell, flags)
        ledger.note(true, f"{name} {' '.join([cell_word, *words])}".strip())
        seen.append(cell)
    ledger.note(set(seen) >= set(wanted), f"{name} list complete".strip())


def _read_removal(ledger: _Ledger, predicate: Predicate, rest: list[str]) -> None:
    """Removal lists may or may not repeat a thing that an earlier removal already took."""
    items = _items(rest)
    everything = cells_of(ledger.scene, Query(()), predicate)
    earlier = ledger.query.remove
    known = predicate in earlier
    before = earlier[: earlier.index(predicate)] if known else ()
    fresh = cells_of(ledger.scene, Query((), before), predicate)
    cells = {int(item[0][1:]) for item in items}
    wanted = fresh if cells <= set(fresh) else everything
    _note_items(ledger, f"remove {' '.join(predicate)}", items, wanted)
    if not known:
        ledger.note(False, f"remove {' '.join(predicate)} was not asked for")


def _read_count(ledger: _Ledger, predicate: Predicate, rest: list[str]) -> None:
    number = None
    if "so" in rest:
        number = rest[-1] if rest.index("so") == len(rest) - 2 else ""
        rest = rest[: rest.index("so")]
    elif rest and _NUMBER.fullmatch(rest[-1]):
        number, rest = rest[-1], rest[:-1]
    name = " ".join(predicate)
    wanted = cells_of(ledger.scene, ledger.query, predicate)
    if [word for word in rest if word != ","]:
        _note_items(ledger, name, _items(rest), wanted)
    if number is not None:
        _note_number(ledger, predicate, number)


def _note_number(ledger: _Ledger, predicate: Predicate, number: str) -> None:
    if not _NUMBER.fullmatch(number):
        raise _Unread
    true = len(cells_of(ledger.scene, ledger.query, predicate))
    ledger.claimed[predicate] = int(number)
    ledger.note(int(number) == true, f"{' '.join(predicate)} {number}")


def _read_comparison(ledger: _Ledger, words: list[str]) -> None:
    """``3 - 2 = 1 , more red``: of the claimed counts; the verdict must fit the true ones."""
    numbers, signs, verdict = (
        words[0:5:2],
        words[1:4:2],
        [word for word in words[5:] if word != ","],
    )
    if (
        len(numbers) < 3
        or signs != ["-", "="]
        or not all(_NUMBER.fullmatch(number) for number in numbers)
    ):
        raise _Unread
    high, low, difference = (int(number) for number in numbers)
    claimed = [ledger.claimed.get(predicate) for predicate in ledger.query.count]
    grounded = claimed in ([high, low], [low, high])
    ledger.note(grounded and high - low == difference, " ".join(words[:5]))
    if verdict:
        truth = answer_from_counts(
            ledger.query, [_true_count(ledger, p) for p in ledger.query.count]
        )
        if verdict != ["equal"] and (verdict[0] != "more" or len(verdict) < 2):
            raise _Unread
        kind = "equal" if verdict == ["equal"] else " ".join(verdict[1:])
        ledger.note(truth.rsplit(" ", 2)[0] == kind, " ".join(verdict))


def _true_count(ledger: _Ledger, predicate: Predicate) -> int:
    return len(cells_of(ledger.scene, ledger.query, predicate))


def _read_scene(ledger: _Ledger, words: list[str]) -> None:
    """The whole scene, as a caption or as a walk with flags."""

    def flags_hold(cell: int, flags: list[str]) -> bool:
        look = ledger.scene.at(cell)
        if look is None:
            return False
        if removed(look, ledger.query):
            return flags == ["gone"]
        hits = [matches(look, predicate) for predicate in ledger.query.count]
        return flags == ["yes" if hit else "no" for hit in hits]

    wanted = tuple(thing.cell for thing in ledger.scene.things)
    _note_items(ledger, "", _items(words), wanted, flags_hold)
