"""Sub-skills of the transformation task, each on its own: question, answer, chain and check.

caption       List both pictures.                       p2 small red rubber cube , ... then ...
find          Where is small red rubber cube?           p2 p3 (in the first and second picture)
compare_text  <words>, <words>: what changed?           color blue , shape ball (or same)
step_text     p6 to p7?                                 right (or same)

Chains of styles ``facts`` and ``walk`` say what the other families say in that style:

facts  p2 small red rubber cube to p3 small red rubber cube .
       small red rubber cube to small blue rubber cube , color blue .       p6 to p7 , right .
walk   p2 small red rubber cube yes , p9 large blue glass sphere no . p2 p3 .
       small small equal red blue color rubber rubber equal cube cube equal .       p6 p7 right .

In the other styles, and for ``caption``, there is only ``look .``
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ekipl_lab.benchmarks.mini.grid import CELLS
from ekipl_lab.benchmarks.mini.steps import LOOK, ChainReport, Steps
from ekipl_lab.benchmarks.mini.transformation.scene import (
    KIND_OF,
    KINDS,
    STEPS,
    VALUES,
    Call,
    Pair,
    Thing,
    changes,
    direction,
    shown_after,
    undone,
)

Facts = Mapping[str, Any]
FORMS = ("caption", "find", "compare_text", "step_text")


def asked(before: Sequence[Thing], facts: Facts, calls: Iterable[Call]) -> set[Call]:
    """The calls that answer a question about these changes: they, or what takes them back."""
    return undone(before, calls) if facts["form"] == "undo" else set(calls)


def describe(things: Sequence[Thing]) -> str:
    """Things of one picture in raster order: ``p2 small red rubber cube , p7 ...``."""
    ordered = sorted(things, key=lambda thing: thing.cell)
    return " , ".join(f"p{thing.cell} {thing.words}" for thing in ordered)


def view_of(pair: Pair) -> str:
    """What a question says of another view of the second picture."""
    return "" if pair.view == "same" else f" Second picture from the {pair.view}."


def draw(rng: random.Random, form: str, pair: Pair) -> tuple[str, dict[str, Any]]:
    """A question of a form about a pair, and the facts that say what is asked."""
    if form == "caption":
        return "List both pictures.", {"form": form}
    if form == "step_text":
        start = rng.randint(1, 16)
        end = rng.choice([cell for cell in CELLS if direction(start, cell) is not None])
        return f"p{start} to p{end}?", {"form": form, "start": start, "end": end}
    number = rng.randrange(len(pair.before))
    facts = {"form": form, "thing": number}
    before, after = pair.before[number], pair.after[number]
    if form == "compare_text":
        return f"{before.words}, {after.words}: what changed?", facts
    return f"Where is {before.words}?{view_of(pair)}", facts


def answer_of(pair: Pair, facts: Facts) -> str:
    """The exact answer."""
    form = facts["form"]
    if form == "caption":
        return f"{describe(pair.before)} then {describe(shown_after(pair))}"
    if form == "step_text":
        return direction(facts["start"], facts["end"]) or "same"
    number = facts["thing"]
    if form == "find":
        return f"p{pair.before[number].cell} p{shown_after(pair)[number].cell}"
    before, after = pair.before[number], pair.after[number]
    calls = changes(number, before, replace(after, cell=before.cell)) or []
    return " , ".join(f"{call.function} {call.value}" for call in calls) or "same"


def think(pair: Pair, facts: Facts, style: str, answer: str) -> str:
    """The chain that leads to a believed answer."""
    form = facts["form"]
    if style == "walk" and form != "caption":
        return f"{_walk(pair, facts, answer)} ."
    if style != "facts" or form == "caption":
        return LOOK
    if form == "step_text":
        return f"p{facts['start']} to p{facts['end']} , {answer} ."
    number = facts["thing"]
    before, after = pair.before[number], pair.after[number]
    if form == "compare_text":
        return f"{before.words} to {after.words} , {answer} ."
    cells = answer.split()
    return f"{cells[0]} {before.words} to {cells[1]} {after.words} ."


def compared(before: Thing, after: Thing) -> str:
    """Every kind of two things: ``small small equal red blue color ...``."""
    triples = zip(KINDS, before.values, after.values, strict=True)
    return " ".join(f"{old} {new} {'equal' if old == new else kind}" for kind, old, new in triples)


def _walk(pair: Pair, facts: Facts, answer: str) -> str:
    form = facts["form"]
    if form == "step_text":
        return f"p{facts['start']} p{facts['end']} {answer}"
    number = facts["thing"]
    if form == "find":
        return f"{' , '.join(_flagged(pair, number))} . {answer}"
    before = pair.before[number]
    if answer in STEPS:  # a mistaken "same"
        return compared(before, before).replace("equal", answer, 1)
    clauses = [clause.split() for clause in answer.split(" , ") if clause != "same"]
    claimed: dict[str, Any] = dict(clauses)
    return compared(before, replace(before, **claimed))


def _flagged(pair: Pair, asked: int) -> list[str]:
    """Every thing of the first picture in raster order, and whether it is the one asked about."""
    return [
        f"p{thing.cell} {thing.words} {'yes' if number == asked else 'no'}"
        for number, thing in sorted(enumerate(pair.before), key=lambda item: item[1].cell)
    ]


def mistaken(answer: str, rng: random.Random) -> str:
    """The answer with one word replaced by another of its kind."""
    words = answer.split()
    place = rng.choice([place for place, word in enumerate(words) if _others(word)])
    words[place] = rng.choice(_others(words[place]))
    return " ".join(words)


def _others(word: str) -> list[str]:
    """Other words of the same kind: values, cells, directions, or what "same" is not."""
    if word in KIND_OF:
        return [value for value in VALUES[KIND_OF[word]] if value != word]
    if word in STEPS or word == "same":
        return [name for name in STEPS if name != word]
    if re.fullmatch("p[0-9]+", word):
        return [f"p{cell}" for cell in CELLS if f"p{cell}" != word]
    return []


def check(pair: Pair, facts: Facts, text: str, answer: str) -> ChainReport:
    """The report on a chain about a sub-skill; ``answer`` is the one that was given."""
    correct = answer == answer_of(pair, facts)
    said = text.removesuffix(".").strip()
    if said == "look":
        return Steps().report(answer, supported=correct, correct=correct)
    facts_style = " to " in said or facts["form"] == "caption"
    read = _read_facts(pair, facts, said) if facts_style else _read_walk(pair, facts, said)
    if read is None:
        unread = Steps(unread=[text if facts_style else said])
        return unread.report(answer, supported=False, correct=correct)
    steps, led = read
    return Steps(steps).report(answer, supported=led == answer, correct=correct)


#: Steps of a chain with whether each holds, and the answer that it leads to; None: not read.
_Read = tuple[list[tuple[str, bool]], str] | None


def _read_facts(pair: Pair, facts: Facts, said: str) -> _Read:
    """``<cell or words> to <cell or words> [, <answer>]``."""
    left, to, right = said.partition(" to ")
    right, comma, verdict = right.partition(" , ")
    form = facts["form"]
    if form == "caption" or not to or (form == "find") == bool(comma):
        return None
    if form == "step_text":
        true = [f"p{facts['start']}", f"p{facts['end']}"]
    else:
        things = [part[facts["thing"]] for part in (pair.before, shown_after(pair))]
        cells = [f"p{thing.cell} " if form == "find" else "" for thing in things]
        true = [f"{cell}{thing.words}" for cell, thing in zip(cells, things, strict=True)]
    steps = [(part, part == wanted) for part, wanted in zip((left, right), true, strict=True)]
    if not comma:
        return steps, " ".join(part.split()[0] for part in (left, right) if part)
    return [*steps, (verdict, verdict == answer_of(pair, facts))], verdict


def _read_walk(pair: Pair, facts: Facts, said: str) -> _Read:
    """What ``_walk`` writes."""
    form, truth = facts["form"], answer_of(pair, facts)
    *listed, last = said.split(" . ")
    words = last.split()
    if form == "step_text" and len(words) == 3 and not listed:
        right = f"p{facts['start']} p{facts['end']} {truth}"
        return [(last, words == right.split())], words[2]
    if form == "find" and len(words) == 2 and len(listed) == 1:
        true, items = _flagged(pair, facts["thing"]), listed[0].split(" , ")
        steps = [(item, item in true and item not in items[:at]) for at, item in enumerate(items)]
        return [*steps, ("list complete", set(true) <= set(items)), (last, last == truth)], last
    if form == "compare_text" and len(words) == 3 * len(KINDS) and not listed:
        true = compared(*(part[facts["thing"]] for part in (pair.before, pair.after))).split()
        triples, wanted = (
            list(zip(part[::3], part[1::3], part[2::3], strict=True)) for part in (words, true)
        )
        steps = [(" ".join(one), one == other) for one, other in zip(triples, wanted, strict=True)]
        clauses = [f"{verdict} {new}" for _, new, verdict in triples if verdict != "equal"]
        return steps, " , ".join(clauses) or "same"
    return None
