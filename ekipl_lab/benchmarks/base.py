"""What a benchmark is, and what is asked of one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ekipl_lab.images import IMAGE_MARK
from ekipl_lab.types import Sample

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Request:
    """Which samples of a benchmark are wanted, from position ``start``.

    ``families`` None means every family that studies may use, ``difficulties`` None all of them,
    ``image_size`` (pixels a side) None the task's default, ``limit`` None that all are taken.
    ``on_bad`` is told of each broken record of a file, which is then left out; None: it is refused.
    """

    task: str
    split: str
    families: Sequence[str] | None = None
    seed: int = 0
    image_size: int | None = None
    start: int = 0
    difficulties: Collection[int] | None = None
    limit: int | None = None
    on_bad: Callable[[str], None] | None = None


def ordered(items: list[_T], request: Request, family: Callable[[_T], str]) -> list[_T]:
    """Items of a file from position ``start``, in their order or shuffled by a ``seed`` > 0.

    For a ``limit`` they are drawn by the seed, 0 too, and any first few hold equal parts of the
    families, as far as these reach: the order of a file may be that of its families.
    """
    if request.seed or request.limit is not None:
        random.Random(request.seed).shuffle(items)
    if request.limit is not None:
        seen: Counter[str] = Counter()
        turns = []
        for item in items:
            turns.append(seen[family(item)])
            seen[family(item)] += 1
        items = [items[at] for at in sorted(range(len(items)), key=turns.__getitem__)]
    return items[request.start :]


def text_fault(text: str, images: int) -> str:
    """What no model could be asked in a record's text with so many images; empty if nothing."""
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        return "half a character (a lone surrogate); write the whole one"
    if "\0" in text:
        return "a NUL character; take it out"
    marks = text.count(IMAGE_MARK)
    if marks not in (0, images):
        return f"{marks} {IMAGE_MARK} for {images} images; name each image once, or none"
    return ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A named source of samples: where it comes from, its licence, sizes, and its loader.

    ``sizes`` maps a split to the number of samples that ``limit=None`` gives.
    """

    name: str
    source: str
    licence: str
    tasks: tuple[str, ...]
    sizes: Mapping[str, int]
    iterate: Callable[[Request], Iterator[Sample]]
