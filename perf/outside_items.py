"""The items of ``perf.outside``: what its three families ask, and the pictures they ask it about.

Pictures are drawn as those of the counting task are, in-domain, each of a fresh scene that belongs
to the test split by its hash. An item is a function of (seed, family, index): its answer is drawn
first, then its question, then scenes until one has the answer and no way of misreading the
question that is listed leads to the right answer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from PIL import Image

from ekipl_lab.benchmarks.mini.counting.query import (
    Predicate,
    Query,
    answer_of,
    cells_of,
    matches,
    noun,
    question_text,
)
from ekipl_lab.benchmarks.mini.counting.scene import (
    ATTRIBUTES,
    BACKGROUNDS,
    MAX_IN_DOMAIN,
    NAMED,
    Look,
    Scene,
    Thing,
    all_looks,
    canonical,
    render,
    split_of,
)
from ekipl_lab.benchmarks.mini.grid import CELLS, JITTER
from ekipl_lab.benchmarks.seeding import rng_for, scene_hash
from ekipl_lab.errors import DataError
from ekipl_lab.files import write_text

SEED, ITEMS, SIZE = 1, 80, 56
DESCRIPTION = """\
name: outside
task: counting
answer_type: text
splits: {test: test.jsonl}
images: pictures
columns: {id: id, image: picture, question: question, answer: answer, family: family}
prompt: "{question}"
licence: Apache-2.0
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its exact answer in a scene, and the answers of those who misread it."""

    question: str
    values: tuple[str, ...]
    answer: Callable[[Scene], str]
    misread: tuple[Callable[[Scene], str], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """How a question is drawn, and the answers of one block of ``ITEMS`` items."""

    ask: Callable[[random.Random], Asked]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A finished item; its id is also the name of its picture."""

    id: str
    family: str
    asked: Asked
    scene: Scene

    def row(self) -> dict[str, str]:
        """The record of the JSONL file; ``scene`` is the scene's hash."""
        return {
            "id": self.id,
            "picture": f"{self.id}.png",
            "question": self.asked.question,
            "answer": self.asked.answer(self.scene),
            "family": self.family,
            "scene": scene_hash(canonical(self.scene.things)),
        }

    def picture(self) -> Image.Image:
        """The picture, as the built-in benchmark draws it."""
        return render(self.scene, SIZE)


# --- families -----------------------------------------------------------------------------------


def _counts(query: Query) -> Callable[[Scene], str]:
    return lambda scene: answer_of(scene, query)


def _conjunction(rng: random.Random) -> Asked:
    """How many small red balls and how many large blue cones? Misread: a word of three dropped."""
    pool = [look.words().split() for look in all_looks(False)]
    first = second = rng.choice(pool)
    while len(set(first) & set(second)) > 1:
        second = rng.choice(pool)
    query = Query((tuple(first), tuple(second)))
    dropped = [
        Query(tuple((*words[:place], *words[place + 1 :]) for words in query.count))
        for place in range(len(NAMED))
    ]
    values = (*first, *second)
    return Asked(question_text(query), values, _counts(query), tuple(map(_counts, dropped)))


def _remove_conjunction(rng: random.Random) -> Asked:
    """Remove red balls. How many small things and how many large things?

    Counted are two values of the kind that the removal does not name. Misread: nothing removed, or
    all red things, or all balls (both is then wrong too, since fewer things are left).
    """
    kind = rng.choice(NAMED)
    gone = tuple(rng.choice(all_looks(False)).words([k for k in NAMED if k != kind]).split())
    drawn = [value for value in ATTRIBUTES[kind] if _occurs((*gone, value))]
    counted = tuple((value,) for value in rng.sample(drawn, 2))
    misread = [Query(counted), *(Query(counted, ((word,),)) for word in gone)]
    query = Query(counted, (gone,))
    values = (*gone, *counted[0], *counted[1])
    return Asked(question_text(query), values, _counts(query), tuple(map(_counts, misread)))


def _occurs(predicate: Predicate) -> bool:
    """Whether an in-domain thing can be all of this."""
    return any(matches(look, predicate) for look in all_looks(False))


def _count_at(rng: random.Random) -> Asked:
    """How many balls are at p1, p2 and p7? Misread: anywhere; or any thing that is there."""
    predicate = (rng.choice(ATTRIBUTES[rng.choice(NAMED)]),)
    places = sorted(rng.sample(CELLS, 6))

    def count(predicate: Predicate, places: Sequence[int]) -> Callable[[Scene], str]:
        query = Query((predicate,))
        return lambda scene: str(len({*cells_of(scene, query, predicate)} & {*places}))

    named = [f"p{cell}" for cell in places]
    return Asked(
        f"How many {noun(predicate)} are at {', '.join(named[:-1])} and {named[-1]}?",
        predicate,
        count(predicate, places),
        (count(predicate, CELLS), count((), places)),
    )


_PAIRS = list(product(range(4), repeat=2))
FAMILIES = {
    "count_conjunction": Family(
        _conjunction, tuple(f"{a} {b}" for a, b in _PAIRS if a + b < 4) * 8
    ),
    "remove_conjunction": Family(
        _remove_conjunction, tuple(f"{a} {b}" for a, b in _PAIRS if 2 <= a + b <= 4) * 8
    ),
    "count_at": Family(_count_at, tuple("01234" * 16)),
}


# --- items --------------------------------------------------------------------------------------


def make_item(family: str, index: int) -> Item:
    """The item of a family; those from ``ITEMS`` on are further ones, in blocks like the first."""
    kind, (block, place) = FAMILIES[family], divmod(index, ITEMS)
    answers = list(kind.answers)
    rng_for("outside", SEED, family, "answers", block).shuffle(answers)
    rng = rng_for("outside", SEED, family, index)
    asked = kind.ask(rng)
    while True:
        scene = _draw_scene(rng, asked.values)
        wrong = {read(scene) for read in asked.misread}
        if asked.answer(scene) != answers[place] or answers[place] in wrong:
            continue
        settled = _settle(rng, scene)
        if settled is not None:
            return Item(f"{family}-{index:03d}", family, asked, settled)


def _settle(rng: random.Random, scene: Scene) -> Scene | None:
    """The scene in such materials, which no family asks about, that it is of the test split."""
    for _ in range(20):
        looks = [replace(t.look, material=rng.choice(ATTRIBUTES["material"])) for t in scene.things]
        pairs = zip(scene.things, looks, strict=True)
        things = tuple(replace(thing, look=look) for thing, look in pairs)
        if split_of(things) == "test":
            return replace(scene, things=things)
    return None


def _draw_scene(rng: random.Random, values: Sequence[str]) -> Scene:
    """3 to 6 in-domain things, rich in the values that the question names."""
    cells = sorted(rng.sample(CELLS, rng.randint(3, MAX_IN_DOMAIN)))
    moves = range(-JITTER, JITTER + 1)
    things = (
        Thing(cell, _draw_look(rng, values), rng.choice(moves), rng.choice(moves)) for cell in cells
    )
    return Scene(tuple(things), rng.choice(BACKGROUNDS))


def _draw_look(rng: random.Random, values: Sequence[str]) -> Look:
    while True:
        look = Look(*(_draw_value(rng, known, values) for known in ATTRIBUTES.values()))
        if not look.is_held_out:
            return look


def _draw_value(rng: random.Random, known: Sequence[str], values: Sequence[str]) -> str:
    named = [value for value in values if value in known]
    return rng.choice(named if named and rng.random() < 0.6 else known)


def make(folder: Path) -> None:
    """Write pictures, ``test.jsonl`` and ``data.yaml``; DataError if a scene occurs twice."""
    items = [make_item(family, index) for family in FAMILIES for index in range(ITEMS)]
    rows = [item.row() for item in items]
    if len({row["scene"] for row in rows}) < len(rows):
        raise DataError("A scene occurs twice; choose another SEED in perf/outside.py.")
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for item in items:
        item.picture().save(folder / "pictures" / f"{item.id}.png", optimize=True)
    write_text(folder / "test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_text(folder / "data.yaml", DESCRIPTION)
