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
from collections.abc import Mapping, Sequence
from typing import Any

from ekipl_lab.benchmarks.mini.chain_report import ChainReport
from ekipl_lab.benchmarks.mini.transformation.scene import (
    KIND_OF,
    KINDS,
    STEPS,
    VALUES,
    Pair,
    Thing,
    direction,
    shown_after,
)

Facts = Mapping[str, Any]
FORMS = ("caption", "find", "compare_text", "step_text")


def describe(things: Sequence[Thing]) -> str:
    """Things of one picture in raster order: ``p2 small red rubber cube , p7 ...``."""
    ordered = sorted(things, key=lambda thing: thing.cell)
    return " , ".join(f"p{thing.cell} {thing.words}" for thing in ordered)


def draw(rng: random.Random, form: str, pair: Pair) -> tuple[str, dict[str, Any]]:
    """A question of a form about a pair, and the facts that say what is asked."""
    if form == "caption":
        return "List both pictures.", {"form": form}
    if form == "step_text":
        start = rng.randint(1, 16)
        end = rng.choice([cell for cell in range(1, 17) if direction(start, cell) is not None])
        return f"p{start} to p{end}?", {"form": form, "start": start, "end": end}
    number = rng.randrange(len(pair.before))
    facts = {"form": form, "thing": number}
    before, after = pair.before[number], pair.after[number]
    if form == "compare_text":
        return f"{before.words}, {after.words}: what changed?", facts
    view = "" if pair.view == "same" else f" Second picture from the {pair.view}."
    return f"Where is {before.words}?{view}", facts


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
    kinds = [kind for kind in KINDS if getattr(before, kind) != getattr(after, kind)]
    return " , ".join(f"{kind} {getattr(after, kind)}" for kind in kinds) or "same"


def think(pair: Pair, facts: Facts, style: str, answer: str) -> str:
    """The chain that leads to a believed answer."""
    form = facts["form"]
    if style == "walk" and form != "caption":
        return f"{_walk(pair, facts, answer)} ."
    if style != "facts" or form == "caption":
        return "look ."
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
    words = []
    for kind in KINDS:
        old, new = getattr(before, kind), getattr(after, kind)
        words += [old, new, "equal" if old == new else kind]
    return " ".join(words)


def _walk(pair: Pair, facts: Facts, answer: str) -> str:
    form = facts["form"]
    if form == "step_text":
        return f"p{facts['start']} p{facts['end']} {answer}"
    number = facts["thing"]
    before = pair.before[number]
    if form == "find":
        items = [
            f"p{thing.cell} {thing.words} {'yes' if thing is before else 'no'}"
            for thing in sorted(pair.before, key=lambda thing: thing.cell)
        ]
        return f"{' , '.join(items)} . {answer}"
    if answer in STEPS:  # a mistaken "same"
        return compared(before, before).replace("equal", answer, 1)
    claimed = [clause.split() for clause in answer.split(" , ") if clause != "same"]
    looks = {kind: getattr(before, kind) for kind in KINDS} | dict(claimed)
    return compared(before, Thing(before.cell, **looks))


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
    if word[0] == "p" and word[1:].isdigit():
        return [f"p{cell}" for cell in range(1, 17) if f"p{cell}" != word]
    return []


def check(pair: Pair, facts: Facts, text: str, answer: str) -> ChainReport:
    """The report on a chain about a sub-skill; ``answer`` is the one that was given."""
    correct = answer == answer_of(pair, facts)
    said = text.removesuffix(".").strip()
    if said == "look":
        return ChainReport((), (), (), answer, correct, correct)
    if " to " not in said and facts["form"] != "caption":
        return _check_walk(pair, facts, said, answer)
    left, to, right = said.partition(" to ")
    right, comma, verdict = right.partition(" , ")
    form = facts["form"]
    if form == "caption" or not to or (form == "find") == bool(comma):
        return ChainReport((), (), (text,), answer, False, correct)
    if form == "step_text":
        ends = (f"p{facts['start']}", f"p{facts['end']}")
        steps = [(left, left == ends[0]), (right, right == ends[1])]
    else:
        number = facts["thing"]
        things = (pair.before[number], shown_after(pair)[number])
        named = [f"p{thing.cell} {thing.words}" for thing in things]
        if form == "compare_text":
            named = [thing.words for thing in things]
        steps = [(left, left == named[0]), (right, right == named[1])]
    led = verdict if comma else " ".join(part.split()[0] for part in (left, right) if part)
    if comma:
        steps.append((verdict, verdict == answer_of(pair, facts)))
    return ChainReport(
        tuple(step for step, holds in steps if holds),
        tuple(step for step, holds in steps if not holds),
        (),
        answer,
        led == answer,
        correct,
    )


def _check_walk(pair: Pair, facts: Facts, said: str, answer: str) -> ChainReport:
    form, truth = facts["form"], answer_of(pair, facts)
    *listed, last = said.split(" . ")
    words = last.split()
    steps: list[tuple[str, bool]] = []
    if form == "step_text" and len(words) == 3 and not listed:
        ends = [f"p{facts['start']}", f"p{facts['end']}"]
        steps, led = [(last, words == [*ends, truth])], words[2]
    elif form == "find" and len(words) == 2 and len(listed) == 1:
        steps, led = [*_listed_steps(pair, facts["thing"], listed[0]), (last, last == truth)], last
    elif form == "compare_text" and len(words) == 3 * len(KINDS) and not listed:
        number = facts["thing"]
        right = compared(pair.before[number], pair.after[number]).split()
        triples = [words[at : at + 3] for at in range(0, len(words), 3)]
        steps = [
            (" ".join(triple), triple == right[3 * place : 3 * place + 3])
            for place, triple in enumerate(triples)
        ]
        clauses = [f"{verdict} {new}" for _, new, verdict in triples if verdict != "equal"]
        led = " , ".join(clauses) or "same"
    else:
        return ChainReport((), (), (said,), answer, False, answer == truth)
    return ChainReport(
        tuple(step for step, holds in steps if holds),
        tuple(step for step, holds in steps if not holds),
        (),
        answer,
        led == answer,
        answer == truth,
    )


def _listed_steps(pair: Pair, asked: int, text: str) -> list[tuple[str, bool]]:
    """Each listed thing of the first picture with its flag, and the list being complete."""
    true = [
        f"p{thing.cell} {thing.words} {'yes' if number == asked else 'no'}"
        for number, thing in enumerate(pair.before)
    ]
    items = text.split(" , ")
    steps = [(item, item in true and item not in items[:place]) for place, item in enumerate(items)]
    return [*steps, ("list complete", set(true) <= set(items))]
