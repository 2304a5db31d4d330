"""Reference chains of the counting task, in five styles, right or wrong on purpose.

For "How many red things and how many balls?":

short    red : p2 p7 , so 2 . ball : p2 , so 1 .
facts    red : p2 large red ball , p7 small red cube , so 2 . ball : p2 large red ball , so 1 .
walk     p2 red ball yes yes , p7 red cube yes no , p9 blue cone no no . red 2 . ball 1 .
caption  p2 large red ball , p7 small red cube , p9 large blue cone . red 2 . ball 1 .
wordy    I look for red things : I see p2 and p7 , that makes 2 . ...

Removing puts ``remove red : p2 p7 .`` in front (``gone`` instead of flags in ``walk``); comparing
ends in ``2 - 1 = 1 , more red .``

A chain is written from a *belief*: the true scene, or one with a thing moved, dropped, added or
altered. A wrong answer is what a false belief or a slip in counting leads to; a wrong chain is one
that has a false step and still ends in the right answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ekipl_lab.benchmarks.mini.counting import skills
from ekipl_lab.benchmarks.mini.counting.query import (
    Predicate,
    Query,
    answer_from_counts,
    cells_of,
    counts_of,
    flags_of,
    matches,
    noun,
    query_from_json,
)
from ekipl_lab.benchmarks.mini.counting.scene import (
    ATTRIBUTES,
    NAMED,
    Scene,
    Thing,
    all_looks,
    scene_from_json,
)
from ekipl_lab.benchmarks.mini.grid import CELLS
from ekipl_lab.benchmarks.mini.steps import sentences
from ekipl_lab.types import Sample


@dataclass(frozen=True, slots=True)
class Belief:
    """What a chain claims: a scene, the query, and the counts (``slip`` is added to one)."""

    scene: Scene
    query: Query
    slip: tuple[int, int] = (0, 0)

    @property
    def counts(self) -> tuple[int, ...]:
        counts = list(counts_of(self.scene, self.query))
        place, amount = self.slip
        counts[place] += amount
        return tuple(counts)

    @property
    def answer(self) -> str:
        return answer_from_counts(self.query, self.counts)

    def cells(self, predicate: Predicate) -> tuple[int, ...]:
        """Where the things are that a predicate removes, or else counts."""
        remove = self.query.remove
        if predicate in remove:
            before = remove[: remove.index(predicate)]
            return cells_of(self.scene, Query((predicate,), before), predicate)
        return cells_of(self.scene, self.query, predicate)


def write(sample: Sample, style: str, fault: str, rng: random.Random) -> tuple[str, str]:
    """Reasoning and answer for a counting sample; see ``ekipl_lab.benchmarks.mini.chains``."""
    facts = sample.metadata["query"]
    scene = scene_from_json(sample.metadata["scene"])
    if facts["form"] in skills.FORMS:
        return _write_skill(scene, facts, style, fault, rng)
    truth = belief = Belief(scene, query_from_json(facts))
    if fault != "none":
        belief = _misled(truth, rng) if fault == "wrong_answer" else _harmless(truth, rng)
    answer = belief.answer if fault == "wrong_answer" else truth.answer
    return sentences(_STYLES[style](belief, rng)), answer


# --- styles -------------------------------------------------------------------------------------


def _marks(cells: Sequence[int]) -> str:
    return " ".join(f"p{cell}" for cell in cells) or "none"


def _facts_list(belief: Belief, cells: Sequence[int]) -> str:
    """``p2 large red ball , p7 ...``; materials are named if they are asked for."""
    kinds = tuple(ATTRIBUTES) if "material" in belief.query.kinds else NAMED
    looks = {thing.cell: thing.look.words(kinds) for thing in belief.scene.things}
    return " , ".join(f"p{cell} {looks[cell]}" for cell in cells) or "none"


def _short(belief: Belief, rng: random.Random) -> list[str]:
    return _lists(belief, {p: _marks(belief.cells(p)) for p in _predicates(belief)})


def _facts(belief: Belief, rng: random.Random) -> list[str]:
    return _lists(belief, {p: _facts_list(belief, belief.cells(p)) for p in _predicates(belief)})


def _predicates(belief: Belief) -> tuple[Predicate, ...]:
    return belief.query.remove + belief.query.count


def _lists(belief: Belief, listed: Mapping[Predicate, str]) -> list[str]:
    """What is removed and what is counted, each with its list of things."""
    query = belief.query
    gone = [f"remove {' '.join(p)} : {listed[p]}" for p in query.remove]
    pairs = zip(query.count, belief.counts, strict=True)
    counted = [f"{' '.join(p)} : {listed[p]} , so {number}" for p, number in pairs]
    return [*gone, *counted, *_comparison(belief)]


def _comparison(belief: Belief) -> list[str]:
    if belief.query.form != "compare":
        return []
    first, second = belief.counts
    high, low = max(first, second), min(first, second)
    kind = "equal" if high == low else f"more {belief.answer.rsplit(' ', 2)[0]}"
    return [f"{high} - {low} = {high - low} , {kind}"]


def _totals(belief: Belief) -> list[str]:
    pairs = zip(belief.query.count, belief.counts, strict=True)
    return [f"{' '.join(p)} {number}" for p, number in pairs] + _comparison(belief)


def _caption(belief: Belief, rng: random.Random) -> list[str]:
    listed = _facts_list(belief, [thing.cell for thing in belief.scene.things])
    gone = [f"remove {' '.join(p)} : {_marks(belief.cells(p))}" for p in belief.query.remove]
    return [listed, *gone, *_totals(belief)]


def _walk(belief: Belief, rng: random.Random) -> list[str]:
    query = belief.query
    items = [
        f"p{thing.cell} {thing.look.words(query.kinds)} {' '.join(flags_of(thing.look, query))}"
        for thing in belief.scene.things
    ]
    return [" , ".join(items) or "none", *_totals(belief)]


def _wordy(belief: Belief, rng: random.Random) -> list[str]:
    """Full sentences in varied wording; counts in either order."""
    query = belief.query
    listed = {p: _marks(belief.cells(p)).replace(" p", " and p") for p in _predicates(belief)}
    said = [
        rng.choice(_REMOVE).format(noun=noun(predicate), listed=listed[predicate])
        for predicate in query.remove
    ]
    counted = list(zip(query.count, belief.counts, strict=True))
    rng.shuffle(counted)
    said += [
        rng.choice(_COUNT).format(noun=noun(predicate), listed=listed[predicate], number=number)
        for predicate, number in counted
    ]
    return said + _comparison(belief)


_REMOVE = (
    "first I take away the {noun} : {listed}",
    "I remove {noun} , they are : {listed}",
    "without the {noun} : {listed}",
)
_COUNT = (
    "I look for {noun} : I see {listed} , that makes {number}",
    "now the {noun} : they are at {listed} , so there are {number}",
    "{noun} : {listed} , I count {number}",
)
_STYLES = {"short": _short, "facts": _facts, "walk": _walk, "caption": _caption, "wordy": _wordy}


# --- faults -------------------------------------------------------------------------------------


def _with_things(scene: Scene, things: list[Thing]) -> Scene:
    return replace(scene, things=tuple(sorted(things, key=lambda thing: thing.cell)))


def _free_cells(scene: Scene) -> list[int]:
    full = {thing.cell for thing in scene.things}
    return [cell for cell in CELLS if cell not in full]


def _altered(scene: Scene, rng: random.Random) -> Scene:
    """The scene with one thing dropped, added, or given another look."""
    things = list(scene.things)
    kind = rng.choice(("drop", "add", "alter"))
    if kind == "drop" and len(things) > 1:
        things.pop(rng.randrange(len(things)))
    elif kind == "add":
        things.append(Thing(rng.choice(_free_cells(scene)), rng.choice(all_looks(True))))
    else:
        place = rng.randrange(len(things))
        things[place] = replace(things[place], look=rng.choice(all_looks(True)))
    return _with_things(scene, things)


def _misled(truth: Belief, rng: random.Random) -> Belief:
    """A belief whose answer is wrong: a miscount (one in three) or a false scene."""
    if rng.random() < 1 / 3:
        place = rng.randrange(len(truth.counts))
        amount = rng.choice((-1, 1)) if truth.counts[place] > 0 else 1
        return replace(truth, slip=(place, amount))
    while True:
        belief = replace(truth, scene=_altered(truth.scene, rng))
        if belief.answer != truth.answer:
            return belief


def _harmless(truth: Belief, rng: random.Random) -> Belief:
    """A belief with the right answer and a false step in every style.

    A thing that the chain must list is moved to an empty cell. Where the chain lists none, one
    count is claimed to be one too high while the answer is still the right one.
    """
    listed = [
        place
        for place, thing in enumerate(truth.scene.things)
        if any(matches(thing.look, predicate) for predicate in _predicates(truth))
    ]
    if not listed:
        return replace(truth, slip=(rng.randrange(len(truth.counts)), 1))
    things = list(truth.scene.things)
    place = rng.choice(listed)
    things[place] = replace(things[place], cell=rng.choice(_free_cells(truth.scene)))
    return replace(truth, scene=_with_things(truth.scene, things))


def _write_skill(
    scene: Scene, facts: Mapping[str, Any], style: str, fault: str, rng: random.Random
) -> tuple[str, str]:
    """A sub-skill's completion; for any fault one that a false belief leads to (wrong answer)."""
    truth = answer = skills.answer_of(scene, facts)
    if fault != "none" and facts["form"] == "match_text":
        answer = skills.mistaken(truth, rng)
    while fault != "none" and answer == truth:
        belief = _altered(scene, rng)
        if facts["form"] != "material" or belief.at(facts["cell"]) is not None:
            answer = skills.answer_of(belief, facts)
            scene = belief if answer != truth else scene
    return skills.think(scene, facts, style, answer), answer
