"""The built-in procedural benchmark: a stream of samples of one task and split.

Sample k of a stream is family k mod F, index k div F, where F families are asked for in order; so a
stream is balanced at every length, and an id (``mini/counting/test/s0/count_pair/000012``) is
enough to rebuild its sample. Nothing is downloaded, and no global random state is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count

from ekipl_lab.benchmarks.base import Request
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.task import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, MiniTask, SampleKey
from ekipl_lab.benchmarks.seeding import SPLITS
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.types import Sample

#: An id of this benchmark; its names are looked up afterwards.
_ID = re.compile(r"mini/([^/]*)/([^/]*)/s([0-9]+)/([^/]*)/([0-9]+)")


def study_families(task: str) -> tuple[str, ...]:
    """The families of a task that no blind solver guesses: the default of every loader."""
    table = _task(task, "train").families
    return tuple(name for name, family in table.items() if family.status == "study")


def iterate(request: Request) -> Iterator[Sample]:
    """Endless samples of a task and split, from position ``start``.

    Raises ConfigError for an unknown task, split, family, difficulty or image size, a family named
    twice, and a seed that is no whole number from 0 on.
    """
    mini, seed = _task(request.task, request.split), request.seed
    size = _checked_size(request.image_size, mini)
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed is {seed!r}; it must be a whole number, 0 or more.")
    families = _checked_families(request.families, mini)
    _check_difficulties(mini, families, request)
    return _stream(mini, families, size, request)


def load_sample(sample_id: str, image_size: int | None = None) -> Sample:
    """The sample that an id names, rebuilt from nothing else.

    Raises ConfigError for a text that is no id of this benchmark.
    """
    match = _ID.fullmatch(sample_id)
    if match is None:
        raise ConfigError(
            f"{sample_id!r} is no sample id of the built-in benchmark; "
            "one looks like mini/counting/test/s0/count_pair/000012."
        )
    task, split, seed, family, index = match.groups()
    mini = _task(task, split)
    _check_family(family, mini)
    key = SampleKey(task, split, int(seed), family, int(index))
    return mini.build(key, _checked_size(image_size, mini))


def _task(task: str, split: str) -> MiniTask:
    if task not in MINI_TASKS:
        raise unknown_name("task of benchmark 'mini'", task, MINI_TASKS)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return MINI_TASKS[task]


def _checked_size(image_size: int | None, mini: MiniTask) -> int:
    size = mini.image_size if image_size is None else image_size
    if not MIN_IMAGE_SIZE <= size <= MAX_IMAGE_SIZE:
        raise ConfigError(
            f"image_size is {size}; the built-in benchmark draws {MIN_IMAGE_SIZE} to "
            f"{MAX_IMAGE_SIZE} pixels."
        )
    return size


def _check_family(name: str, mini: MiniTask) -> None:
    if name not in mini.families:
        raise unknown_name(f"family of task {mini.name!r}", name, mini.families)


def _checked_families(families: Sequence[str] | None, mini: MiniTask) -> tuple[str, ...]:
    """The families asked for: known, and none twice, which would give its samples twice."""
    if families is None:
        return study_families(mini.name)
    names = (families,) if isinstance(families, str) else tuple(families)
    if not names:
        raise ConfigError(
            f"No families of task {mini.name!r} were asked for; leave families unset."
        )
    for name in names:
        _check_family(name, mini)
        if names.count(name) > 1:
            raise ConfigError(f"Family {name!r} is asked for twice; name each family once.")
    return names


def _check_difficulties(mini: MiniTask, families: Sequence[str], request: Request) -> None:
    """Refuses levels that the split never has, where the stream would search for ever."""
    wanted, split = request.difficulties, request.split
    if wanted is None:
        return
    keys = [SampleKey(mini.name, split, 0, name, index) for name in families for index in range(60)]
    known = sorted({mini.difficulty_of(key) for key in keys})
    for level in wanted:
        if level not in known:
            known_text = ", ".join(map(str, known))
            raise ConfigError(f"Split {split!r} has no difficulty {level}; known: {known_text}.")
    if not wanted:
        raise ConfigError("No difficulties were asked for; leave difficulties unset.")


def _stream(
    mini: MiniTask, families: Sequence[str], size: int, request: Request
) -> Iterator[Sample]:
    for position in count(request.start):
        index, number = divmod(position, len(families))
        key = SampleKey(mini.name, request.split, request.seed, families[number], index)
        if request.difficulties is None or mini.difficulty_of(key) in request.difficulties:
            yield mini.build(key, size)
