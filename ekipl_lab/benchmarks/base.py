"""What a benchmark is, and what is asked of one."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ekipl_lab.types import Sample

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Request:
    """Which samples of a benchmark are wanted, from position ``start``.

    ``families`` None means every family that studies may use, ``difficulties`` None all of them,
    ``image_size`` (pixels a side) None the task's default.
    """

    task: str
    split: str
    families: Sequence[str] | None = None
    seed: int = 0
    image_size: int | None = None
    start: int = 0
    difficulties: Collection[int] | None = None


def ordered(items: list[_T], request: Request) -> list[_T]:
    """Items of a file from position ``start``, in their order or shuffled by a ``seed`` > 0."""
    if request.seed:
        random.Random(request.seed).shuffle(items)
    return items[request.start :]


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
