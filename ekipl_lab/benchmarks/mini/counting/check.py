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
from dataclasses import dataclass, field

from ekipl_lab.benchmarks.mini.counting import skills
from ekipl_lab.benchmarks.mini.counting.query import (
    Predicate,
    Query,
    answer_from_counts,
    cells_of,
    counts_of,
    flags_of,
    query_from_json,
)
from ekipl_lab.benchmarks.mini.counting.scene import (
    ATTRIBUTES,
    KIND_OF,
    Scene,
    scene_from_json,
)
from ekipl_lab.benchmarks.mini.steps import ChainReport, Steps, Unread
from ekipl_lab.types import Sample

#: Words that say nothing of the scene.
_FILLERS = frozenset(
    re.findall(
        "[a-z]+", "i look for see that makes now the they are at there count first and things"
    )
)
_SYNONYMS = {"balls": "ball", "cubes": "cube", "cones": "cone", "without": "remove"}
_FLAGS = ("yes", "no", "gone")
_NUMBER = re.compile(r"\d{1,3}")
_CELL = re.compile(r"p\d{1,3}")


@dataclass(kw_only=True)
class _Steps(Steps):
    """Steps read so far, and what the chain claims of every count."""

    scene: Scene
    query: Query
    claimed: dict[Predicate, int] = field(default_factory=dict)

    def cells(self, predicate: Predicate) -> tuple[int, ...]:
        """Where the things are that are counted by a predicate."""
        return cells_of(self.scene, self.query, predicate)


def check(sample: Sample, reasoning: str, answer: str) -> ChainReport:
    """The report on the reasoning and answer of a completion for a counting sample."""
    answer = " ".join(answer.replace(",", " , " if "," in sample.answer else " ").split())
    scene, facts = scene_from_json(sample.metadata["scene"]), sample.metadata["query"]
    if facts["form"] in skills.FORMS:
        return skills.check(scene, facts, reasoning.lower(), answer)
    steps = _Steps(scene=scene, query=query_from_json(facts))
    text = reasoning.lower().replace("take away", "remove")
    steps.read(text, lambda sentence: _read_sentence(steps, sentence))
    counts = [steps.claimed.get(predicate) for predicate in steps.query.count]
    known = [count for count in counts if count is not None]
    supported = len(known) == len(counts) and answer == answer_from_counts(steps.query, known)
    return steps.report(answer, supported=supported, correct=answer == sample.answer)


def _read_sentence(steps: _Steps, sentence: str) -> None:
    words = [_SYNONYMS.get(word, word) for word in sentence.split() if word not in _FILLERS]
    if not words:
        return
    if ":" in words:
        head, rest = words[: words.index(":")], words[words.index(":") + 1 :]
        head = [word for word in head if word != ","]
        if head[:1] == ["remove"]:
            _read_removal(steps, _predicate(head[1:]), rest)
        else:
            _read_count(steps, _predicate(head), rest)
    elif "=" in words:
        _read_comparison(steps, words)
    elif _NUMBER.fullmatch(words[-1]):
        _note_number(steps, _predicate(words[:-1]), words[-1])
    else:
        _read_scene(steps, words)


def _predicate(words: list[str]) -> Predicate:
    """The words as a predicate in speaking order; Unread unless they are attribute values."""
    kinds = [KIND_OF.get(word, "") for word in words]
    if not words or "" in kinds or len(set(kinds)) < len(kinds):
        raise Unread
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
            raise Unread
    if not items:
        raise Unread
    return items


def _note_items(
    steps: _Steps,
    name: str,
    items: list[list[str]],
    wanted: tuple[int, ...],
    *,
    flagged: bool = False,
) -> None:
    """Notes every item (right cell, true words, true flags) and that the list is complete."""
    seen = []
    for cell_word, *words in items:
        cell = int(cell_word[1:])
        flags = [word for word in words if word in _FLAGS]
        values = {word for word in words if word not in _FLAGS}
        if not values <= KIND_OF.keys() or (flags and not flagged):
            raise Unread
        look = steps.scene.at(cell)
        holds = look is not None and cell in wanted and cell not in seen
        if look is not None:
            holds = holds and values <= set(look.values)
            holds = holds and flags in ([], flags_of(look, steps.query))
        steps.note(holds, f"{name} {' '.join([cell_word, *words])}".strip())
        seen.append(cell)
    steps.note(set(seen) >= set(wanted), f"{name} list complete".strip())


def _read_removal(steps: _Steps, predicate: Predicate, rest: list[str]) -> None:
    """Removal lists may or may not repeat a thing that an earlier removal already took."""
    items = _items(rest)
    everything = cells_of(steps.scene, Query(()), predicate)
    earlier = steps.query.remove
    known = predicate in earlier
    before = earlier[: earlier.index(predicate)] if known else ()
    fresh = cells_of(steps.scene, Query((), before), predicate)
    cells = {int(item[0][1:]) for item in items}
    wanted = fresh if cells <= set(fresh) else everything
    _note_items(steps, f"remove {' '.join(predicate)}", items, wanted)
    if not known:
        steps.note(False, f"remove {' '.join(predicate)} was not asked for")


def _read_count(steps: _Steps, predicate: Predicate, rest: list[str]) -> None:
    number = None
    if "so" in rest:
        number = rest[-1] if rest.index("so") == len(rest) - 2 else ""
        rest = rest[: rest.index("so")]
    elif rest and _NUMBER.fullmatch(rest[-1]):
        number, rest = rest[-1], rest[:-1]
    if [word for word in rest if word != ","]:
        _note_items(steps, " ".join(predicate), _items(rest), steps.cells(predicate))
    if number is not None:
        _note_number(steps, predicate, number)


def _note_number(steps: _Steps, predicate: Predicate, number: str) -> None:
    if not _NUMBER.fullmatch(number):
        raise Unread
    steps.claimed[predicate] = int(number)
    steps.note(int(number) == len(steps.cells(predicate)), f"{' '.join(predicate)} {number}")


def _read_comparison(steps: _Steps, words: list[str]) -> None:
    """``3 - 2 = 1 , more red``: of the claimed counts; the verdict must fit the true ones."""
    numbers, signs = words[0:5:2], words[1:4:2]
    verdict = [word for word in words[5:] if word != ","]
    if len(numbers) < 3 or signs != ["-", "="] or not all(map(_NUMBER.fullmatch, numbers)):
        raise Unread
    high, low, difference = (int(number) for number in numbers)
    claimed = [steps.claimed.get(predicate) for predicate in steps.query.count]
    grounded = claimed in ([high, low], [low, high])
    steps.note(grounded and high - low == difference, " ".join(words[:5]))
    if verdict:
        truth = answer_from_counts(steps.query, counts_of(steps.scene, steps.query))
        if verdict != ["equal"] and (verdict[0] != "more" or len(verdict) < 2):
            raise Unread
        kind = "equal" if verdict == ["equal"] else " ".join(verdict[1:])
        steps.note(truth.rsplit(" ", 2)[0] == kind, " ".join(verdict))


def _read_scene(steps: _Steps, words: list[str]) -> None:
    """The whole scene, as a caption or as a walk with flags."""
    wanted = tuple(thing.cell for thing in steps.scene.things)
    _note_items(steps, "", _items(words), wanted, flagged=True)
