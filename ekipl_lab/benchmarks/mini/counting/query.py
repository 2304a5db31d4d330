"""What a counting question asks, and its exact answer from a scene.

A predicate is a tuple of attribute values, at most one of a kind, in speaking order:
``("red",)``, ``("large", "ball")``. A query removes every thing that matches one of ``remove`` and
then counts each of ``count`` among what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ekipl_lab.benchmarks.mini.counting.scene import KIND_OF, Look, Scene

Predicate = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """``form`` is ``counts`` (answer: the counts) or ``compare`` (two counts compared)."""

    count: tuple[Predicate, ...]
    remove: tuple[Predicate, ...] = ()
    form: str = "counts"

    @property
    def kinds(self) -> set[str]:
        """Kinds of attributes that its predicates name."""
        return {KIND_OF[value] for predicate in self.count + self.remove for value in predicate}

    def to_json(self) -> dict[str, Any]:
        """JSON values, kept in ``Sample.metadata["query"]``."""
        count, remove = ([list(p) for p in part] for part in (self.count, self.remove))
        return {"count": count, "remove": remove, "form": self.form}


def query_from_json(data: Mapping[str, Any]) -> Query:
    """The inverse of ``Query.to_json``."""
    count, remove = (tuple(map(tuple, data[name])) for name in ("count", "remove"))
    return Query(count, remove, data["form"])


def matches(look: Look, predicate: Predicate) -> bool:
    """Whether a look has every value of the predicate."""
    return all(value in look.values for value in predicate)


def removed(look: Look, query: Query) -> bool:
    """Whether the query takes this look away before counting."""
    return any(matches(look, predicate) for predicate in query.remove)


def flags_of(look: Look, query: Query) -> list[str]:
    """Whether each predicate counts a look, ``yes`` or ``no``, or that it is ``gone``."""
    if removed(look, query):
        return ["gone"]
    return ["yes" if matches(look, predicate) else "no" for predicate in query.count]


def cells_of(scene: Scene, query: Query, predicate: Predicate) -> tuple[int, ...]:
    """Cells of the things left after removing that match, in raster order."""
    return tuple(
        thing.cell
        for thing in scene.things
        if not removed(thing.look, query) and matches(thing.look, predicate)
    )


def counts_of(scene: Scene, query: Query) -> tuple[int, ...]:
    """The count of every predicate of ``query.count``."""
    return tuple(len(cells_of(scene, query, predicate)) for predicate in query.count)


def answer_from_counts(query: Query, counts: Sequence[int]) -> str:
    """The canonical answer string that these counts give.

    counts: ``"2 1"``. compare: the predicate with more, its count, the difference
    (``"red 3 2"``), or ``"equal 2 0"``.
    """
    if query.form == "counts":
        return " ".join(str(count) for count in counts)
    first, second = counts
    if first == second:
        return f"equal {first} 0"
    winner = query.count[0] if first > second else query.count[1]
    return f"{' '.join(winner)} {max(first, second)} {abs(first - second)}"


def answer_of(scene: Scene, query: Query) -> str:
    """The exact answer of the query in the scene."""
    return answer_from_counts(query, counts_of(scene, query))


def noun(predicate: Predicate) -> str:
    """The predicate as a plural: ``red things``, ``large balls``, ``red cubes``."""
    if KIND_OF[predicate[-1]] == "shape":
        return " ".join(predicate) + "s"
    return " ".join(predicate) + " things"


def question_text(query: Query) -> str:
    """The question as the sample asks it."""
    counted = [noun(predicate) for predicate in query.count]
    if query.form == "compare":
        text = f"More {counted[0]} or {counted[1]}? Say which, how many, how many more."
    else:
        asked = [f"how many {noun}" for noun in counted]
        text = (" and " if len(asked) == 2 else ", ").join(asked).capitalize() + "?"
    if not query.remove:
        return text
    return f"Remove {' and '.join(noun(predicate) for predicate in query.remove)}. {text}"
