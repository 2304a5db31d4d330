"""Draws a query, then an answer, then a scene that has it, then places until the split fits.

Drawing the answer before the scene keeps answers spread out, so that no prior guesses them; the
place of a thing never matters to an answer, so cells are redrawn until the scene's hash falls into
the wanted split.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ekipl_lab.benchmarks.mini.counting.query import Predicate, Query, matches, removed
from ekipl_lab.benchmarks.mini.counting.scene import (
    ATTRIBUTES,
    BACKGROUNDS,
    HELD_OUT_PAIRS,
    MAX_THINGS,
    OOD_BACKGROUNDS,
    Look,
    Scene,
    Thing,
    all_looks,
    split_of,
)
from ekipl_lab.benchmarks.mini.grid import CELLS, JITTER
from ekipl_lab.benchmarks.mini.task import Draw


@dataclass(frozen=True, slots=True)
class Level:
    """Numbers of things, both ends included, and which sizes occur."""

    fewest: int
    most: int
    sizes: tuple[str, ...] = ATTRIBUTES["size"]


#: Difficulty -> level; 4 is met only out of domain.
LEVELS = {
    1: Level(1, 4, ("large",)),
    2: Level(2, 5),
    3: Level(4, 6),
    4: Level(7, MAX_THINGS),
}
_Atom = tuple[bool, tuple[bool, ...]]


def _values(kind: str, level: Level) -> tuple[str, ...]:
    return level.sizes if kind == "size" else ATTRIBUTES[kind]


def _kinds(level: Level) -> list[str]:
    """The attribute kinds that questions may name: size only where both sizes occur."""
    return ["colour", "shape"] if len(level.sizes) == 1 else ["colour", "shape", "size"]


def _singles(rng: random.Random, kinds: Sequence[str], level: Level) -> tuple[Predicate, ...]:
    """One-value predicates of the given kinds, all different."""
    found: list[Predicate] = []
    while len(found) < len(kinds):
        predicate = (rng.choice(_values(kinds[len(found)], level)),)
        if predicate not in found:
            found.append(predicate)
    return tuple(found)


def _pair_kinds(rng: random.Random, level: Level) -> list[str]:
    """Two kinds: mostly different ones, sometimes two colours or two shapes."""
    if rng.random() < 0.3:
        return [rng.choice(["colour", "shape"])] * 2
    return rng.sample(_kinds(level), 2)


def _double(rng: random.Random, level: Level) -> Predicate:
    """A predicate with two values that some in-domain thing can have."""
    while True:
        kinds = sorted(rng.sample(_kinds(level), 2), key=list(ATTRIBUTES).index)
        predicate = tuple(rng.choice(_values(kind, level)) for kind in kinds)
        if predicate not in HELD_OUT_PAIRS:
            return predicate


def draw_query(rng: random.Random, family: str, level: Level) -> Query:
    """A random query of the family that can be asked at the level."""
    if family == "count_one":
        return Query(_singles(rng, rng.sample(_kinds(level), 1), level))
    if family in ("count_pair", "compare"):
        form = "compare" if family == "compare" else "counts"
        return Query(_singles(rng, _pair_kinds(rng, level), level), form=form)
    if family == "count_two":
        first = second = _double(rng, level)
        while second == first:
            second = _double(rng, level)
        return Query((first, second))
    if family == "count_three":
        third = "size" if "size" in _kinds(level) else rng.choice(("colour", "shape"))
        return Query(_singles(rng, rng.sample(["colour", "shape", third], 3), level))
    if family in ("count_material", "compare_material"):
        kinds = ["material", rng.choice(_kinds(level))]
        rng.shuffle(kinds)
        form = "compare" if family == "compare_material" else "counts"
        return Query(_singles(rng, kinds, level), form=form)
    return _draw_removal(rng, family, level)


def _draw_removal(rng: random.Random, family: str, level: Level) -> Query:
    """Removes by one kind (or two) and counts first by another, so that the removal matters."""
    kinds = _kinds(level)
    chosen = {"remove_two": ["colour", "shape"], "remove_material": ["material"]}.get(family)
    gone = chosen or [rng.choice(("colour", "shape"))]
    first = rng.choice([kind for kind in kinds if kind not in gone] or kinds)
    second = rng.choice([kind for kind in kinds if kind != "size" or first != "size"])
    values = _singles(rng, gone + rng.sample([first, second], 2), level)
    form = "compare" if family == "remove_compare" else "counts"
    return Query(values[len(gone) :], values[: len(gone)], form)


@lru_cache(maxsize=4096)
def _atoms(query: Query, sizes: tuple[str, ...], held_out: bool) -> dict[_Atom, tuple[Look, ...]]:
    """Looks grouped by what the query sees of them: (removed, matches of every count)."""
    groups: dict[_Atom, list[Look]] = {}
    for look in all_looks(held_out):
        if look.size in sizes:
            seen = tuple(matches(look, predicate) for predicate in query.count)
            groups.setdefault((removed(look, query), seen), []).append(look)
    return {atom: tuple(looks) for atom, looks in groups.items()}


def _fill_counts(
    rng: random.Random, atoms: Sequence[_Atom], target: Sequence[int], room: int, frugal: bool
) -> list[_Atom] | None:
    """Kept atoms that sum to the target using at most ``room`` things; None if they do not fit."""
    left = list(target)
    chosen: list[_Atom] = []
    while any(left):
        fitting = [
            atom
            for atom in atoms
            if not atom[0]
            and any(atom[1])
            and all(not hit or rest > 0 for hit, rest in zip(atom[1], left, strict=True))
        ]
        if not fitting or len(chosen) == room:
            return None
        if frugal:
            most = max(sum(atom[1]) for atom in fitting)
            fitting = [atom for atom in fitting if sum(atom[1]) == most]
        atom = rng.choice(fitting)
        left = [rest - hit for rest, hit in zip(left, atom[1], strict=True)]
        chosen.append(atom)
    return chosen


def _draw_removed(rng: random.Random, atoms: Sequence[_Atom], room: int) -> list[_Atom] | None:
    """One to three removed atoms, at least one of which would have been counted."""
    gone = [atom for atom in atoms if atom[0]]
    telling = [atom for atom in gone if any(atom[1])]
    if not telling:
        return None
    others = rng.randint(0, min(2, room - 1))
    return [rng.choice(telling)] + [rng.choice(gone) for _ in range(others)]


def _draw_atoms(
    rng: random.Random, query: Query, level: Level, atoms: dict[_Atom, tuple[Look, ...]]
) -> list[_Atom] | None:
    """Atoms of a scene whose answer was drawn first; None where the draw does not fit."""
    names = sorted(atoms)
    room = level.most - bool(query.remove)
    target = [rng.randint(0, room) for _ in query.count]
    kept = None
    for attempt in range(6):
        kept = kept or _fill_counts(rng, names, target, room, frugal=attempt >= 3)
    if kept is None and any(target):
        return None
    chosen = kept or []
    if query.remove:
        gone = _draw_removed(rng, names, level.most - len(chosen))
        if gone is None:
            return None
        chosen = chosen + gone
    blank = (False, (False,) * len(query.count))
    total = rng.randint(max(level.fewest, len(chosen), 1), level.most)
    if total > len(chosen) and blank not in atoms:
        return None
    return chosen + [blank] * (total - len(chosen))


def _draw_looks(rng: random.Random, query: Query, level: Level, pairs: bool) -> list[Look] | None:
    """Looks that give the drawn answer; with ``pairs`` at least one has a held-out pair."""
    atoms = _atoms(query, level.sizes, pairs)
    chosen = _draw_atoms(rng, query, level, atoms)
    if chosen is None:
        return None
    looks = [rng.choice(atoms[atom]) for atom in chosen]
    if not pairs or any(look.is_held_out for look in looks):
        return looks
    swaps = [
        (place, look)
        for place, atom in enumerate(chosen)
        for look in atoms[atom]
        if look.is_held_out
    ]
    if not swaps:
        return None
    place, look = rng.choice(swaps)
    return [*looks[:place], look, *looks[place + 1 :]]


def draw_free_scene(rng: random.Random, wanted: Draw) -> Scene:
    """A scene drawn without a question, for describing and locating."""
    level = LEVELS[wanted.level]
    while True:
        pool = [look for look in all_looks(wanted.shift == "pairs") if look.size in level.sizes]
        looks = [rng.choice(pool) for _ in range(rng.randint(level.fewest, level.most))]
        scene = _settle(rng, looks, wanted.split)
        if scene is not None:
            return scene


def draw_scene(rng: random.Random, family: str, wanted: Draw) -> tuple[Scene, Query]:
    """A scene of the split and a query of the family, with the answer drawn first."""
    level = LEVELS[wanted.level]
    while True:
        query = draw_query(rng, family, level)
        looks = _draw_looks(rng, query, level, wanted.shift == "pairs")
        scene = None if looks is None else _settle(rng, looks, wanted.split)
        if scene is not None:
            return scene, query


def _settle(rng: random.Random, looks: Sequence[Look], split: str) -> Scene | None:
    """Places the looks so that the scene belongs to the split; None after 40 tries."""
    for _ in range(40):
        cells = sorted(rng.sample(CELLS, len(looks)))
        order = rng.sample(looks, len(looks))
        things = tuple(Thing(cell, look) for cell, look in zip(cells, order, strict=True))
        if split_of(things) == split:
            moved = (
                replace(thing, dx=rng.randint(-JITTER, JITTER), dy=rng.randint(-JITTER, JITTER))
                for thing in things
            )
            backgrounds = OOD_BACKGROUNDS if split == "test_ood" else BACKGROUNDS
            return Scene(tuple(moved), rng.choice(backgrounds))
        if split == "test_ood":
            return None
    return None
