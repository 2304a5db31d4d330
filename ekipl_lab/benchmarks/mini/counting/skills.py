"""Sub-skills of the counting task, each on its own: question, answer, chain and check.

caption     List all things.                         p2 large red ball , p7 small blue cube
at          What is at p5?                           large red ball (or none)
material    Is p5 matte or shiny?                    matte
where       Where are red things?                    p2 p7 (or none)
match_text  large red ball, small blue cube: red?    yes no

Chains of style ``walk`` say what the other families say in that style: ``p5 large red ball .``,
``p5 matte .``, ``p2 red yes , p7 blue no .``, ``red yes , blue no .``; in the other styles, and
for ``caption``, there is only a word to fill the chain, ``look .``
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from ekipl_lab.benchmarks.mini.counting.query import matches, noun
from ekipl_lab.benchmarks.mini.counting.scene import (
    ATTRIBUTES,
    KIND_OF,
    NAMED,
    Look,
    Scene,
    describe,
)
from ekipl_lab.benchmarks.mini.grid import CELLS
from ekipl_lab.benchmarks.mini.steps import LOOK, ChainReport, Steps

Facts = Mapping[str, Any]
#: Forms of questions that are answered in these words and not in counts.
FORMS = ("caption", "at", "material", "where", "match_text")
_OF_A_CELL = ("at", "material")


def draw(rng: random.Random, form: str, scene: Scene) -> tuple[str, dict[str, Any]]:
    """A question of a form about a scene, and the facts that say what is asked."""
    if form == "caption":
        return "List all things.", {"form": form}
    if form in _OF_A_CELL:
        full = [thing.cell for thing in scene.things]
        cell = rng.choice(full if form == "material" or rng.random() < 0.8 else CELLS)
        question = f"What is at p{cell}?" if form == "at" else f"Is p{cell} matte or shiny?"
        return question, {"form": form, "cell": cell}
    value = _value(rng, scene, 0.75 if form == "where" else 0.6)
    facts = {"form": form, "predicate": [value]}
    if form == "where":
        return f"Where are {noun((value,))}?", facts
    kinds = tuple(ATTRIBUTES) if KIND_OF[value] == "material" else NAMED
    listed = ", ".join(thing.look.words(kinds) for thing in scene.things)
    return f"{listed}: {value}?", facts


def _value(rng: random.Random, scene: Scene, share: float) -> str:
    """A value to look for, with probability ``share`` one that some thing has."""
    kind = rng.choice(list(ATTRIBUTES))
    if rng.random() < share:
        return rng.choice(scene.things).look.words((kind,))
    return rng.choice(ATTRIBUTES[kind])


def answer_of(scene: Scene, facts: Facts) -> str:
    """The exact answer."""
    form = facts["form"]
    if form == "caption":
        return describe(scene)
    if form in _OF_A_CELL:
        look = scene.at(facts["cell"])
        return "none" if look is None else look.words(NAMED if form == "at" else ("material",))
    hits = [(thing, matches(thing.look, tuple(facts["predicate"]))) for thing in scene.things]
    if form == "where":
        return " ".join(f"p{thing.cell}" for thing, hit in hits if hit) or "none"
    return " ".join("yes" if hit else "no" for _, hit in hits)


def think(scene: Scene, facts: Facts, style: str, answer: str) -> str:
    """The chain that leads a believed scene to a believed answer."""
    form = facts["form"]
    if style != "walk" or form == "caption":
        return LOOK
    if form in _OF_A_CELL:
        return f"p{facts['cell']} {answer} ."
    kind = KIND_OF[facts["predicate"][0]]
    found = answer.split()
    items = []
    for place, thing in enumerate(scene.things):
        value = thing.look.words((kind,))
        if form == "where":
            flag = "yes" if f"p{thing.cell}" in found else "no"
            items.append(f"p{thing.cell} {value} {flag}")
        else:
            items.append(f"{value} {found[place]}")
    return " , ".join(items) + " ."


def mistaken(answer: str, rng: random.Random) -> str:
    """The flags of ``match_text`` with one of them turned."""
    flags = answer.split()
    place = rng.randrange(len(flags))
    flags[place] = "no" if flags[place] == "yes" else "yes"
    return " ".join(flags)


def check(scene: Scene, facts: Facts, text: str, answer: str) -> ChainReport:
    """The report on a chain about a sub-skill; ``answer`` is the one that was given."""
    correct = answer == answer_of(scene, facts)
    said = [part.strip() for part in f" {text} ".split(" . ") if part.strip()]
    if all(sentence in ("look", "i look", "i see") for sentence in said):
        return Steps().report(answer, supported=correct, correct=correct)
    items = [part.split() for part in said[0].split(" , ")] if len(said) == 1 else []
    items = [words for words in items if words]
    if facts["form"] == "caption" or not items:
        return Steps(unread=[text]).report(answer, supported=False, correct=correct)
    supported = _leads_to(facts, items) == answer
    return _steps(scene, facts, items).report(answer, supported=supported, correct=correct)


def _steps(scene: Scene, facts: Facts, items: list[list[str]]) -> Steps:
    """Every item with whether it holds, and the list being complete."""
    steps, seen = Steps(), list[int]()
    by_cell, of_a_cell = facts["form"] != "match_text", facts["form"] in _OF_A_CELL
    for place, words in enumerate(items):
        look, said, flag = _subject(scene, words, place, by_cell)
        known = all(word in KIND_OF or word == "none" for word in said)
        if not said or not known or (flag is None) != of_a_cell:
            steps.unread.append(" ".join(words))
            continue
        holds = said == ["none"] if look is None else set(said) <= set(look.values)
        if of_a_cell:
            holds = holds and words[0] == f"p{facts['cell']}"
        else:
            hit = look is not None and matches(look, tuple(facts["predicate"]))
            key = int(words[0][1:]) if by_cell else place
            holds = holds and look is not None and flag == ("yes" if hit else "no")
            holds = holds and key not in seen
            seen.append(key)
        steps.note(holds, " ".join(words))
    if not of_a_cell:
        wanted = {t.cell for t in scene.things} if by_cell else set(range(len(scene.things)))
        steps.note(set(seen) >= wanted, "list complete")
    return steps


def _subject(
    scene: Scene, words: list[str], place: int, by_cell: bool
) -> tuple[Look | None, list[str], str | None]:
    """The look that an item is about, the values said of it, and its flag if it has one."""
    flag = words[-1] if words[-1] in ("yes", "no") else None
    said = words[:-1] if flag else list(words)
    if not by_cell:
        look = scene.things[place].look if place < len(scene.things) else None
        return look, said, flag
    if not (said and re.fullmatch("p[0-9]{1,3}", said[0])):
        return None, [], flag
    return scene.at(int(said[0][1:])), said[1:], flag


def _leads_to(facts: Facts, items: list[list[str]]) -> str:
    """The answer that the items claim."""
    if facts["form"] in _OF_A_CELL:
        return " ".join(items[0][1:])
    if facts["form"] == "where":
        return " ".join(words[0] for words in items if words[-1] == "yes") or "none"
    return " ".join(words[-1] for words in items)
