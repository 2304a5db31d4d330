"""The built-in procedural benchmark: a stream of samples of one task and split.

Sample k of a stream is family k mod F, index k div F, where F families are asked for in order; so a
stream is balanced at every length, and an id (``mini/counting/test/s0/count_pair/000012``) is
enough to rebuild its sample. Nothing is downloaded, and no global random state is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import count

from ekipl_lab.benchmarks.base import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, MiniTask, SampleKey
from ekipl_lab.benchmarks.mini import counting, geometry, transformation
from ekipl_lab.benchmarks.seeding import SPLITS
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.types import Sample

#: An id of this benchmark; its names are looked up afterwards.
_ID = re.compile(r"mini/([^/]*)/([^/]*)/s([0-9]+)/([^/]*)/([0-9]+)")

MINI_TASKS: dict[str, MiniTask] = {
    "counting": counting.TASK,
    "geometry": geometry.TASK,
    "transformation": transformation.TASK,
}


def study_families(task: str) -> tuple[str, ...]:
    """The families of a task that no blind solver guesses: the default of every loader."""
    table = _task(task).families
    return tuple(name for name, family in table.items() if family.status == "study")


def iterate(
    *,
    task: str,
    split: str,
    families: Sequence[str] | None = None,
    seed: int = 0,
    image_size: int | None = None,
    start: int = 0,
    difficulties: Collection[int] | None = None,
) -> Iterator[Sample]:
    """Endless samples of a task and split, from stream position ``start``.

    ``difficulties`` keeps only those levels. Raises ConfigError for an unknown task, split, family
    or image size, a family named twice, and a seed that is no whole number from 0 on.
    """
    mini = _task(task)
    size = _checked_size(image_size, mini)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed is {seed!r}; it must be a whole number, 0 or more.")
    names = study_families(task) if families is None else _checked_families(families, mini)
    _check_difficulties(mini, split, names, difficulties)
    return _stream(mini, split, names, seed, size, start, difficulties)


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
    key = SampleKey(task, split, int(seed), family, int(index))
    mini = _task(task)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if family not in mini.families:
        raise unknown_name(f"family of task {task!r}", family, mini.families)
    return mini.build(key, _checked_size(image_size, mini))


def _task(task: str) -> MiniTask:
    if task not in MINI_TASKS:
        raise unknown_name("task of benchmark 'mini'", task, MINI_TASKS)
    return MINI_TASKS[task]


def _checked_size(image_size: int | None, mini: MiniTask) -> int:
    size = mini.image_size if image_size is None else image_size
    if not MIN_IMAGE_SIZE <= size <= MAX_IMAGE_SIZE:
        raise ConfigError(
            f"image_size is {size}; the built-in benchmark draws {MIN_IMAGE_SIZE} to "
            f"{MAX_IMAGE_SIZE} pixels."
        )
    return size


def _checked_families(families: Sequence[str], mini: MiniTask) -> tuple[str, ...]:
    """The families asked for: known, and none twice, which would give its samples twice."""
    names = (families,) if isinstance(families, str) else tuple(families)
    if not names:
        raise ConfigError(
            f"No families of task {mini.name!r} were asked for; leave families unset."
        )
    for name in names:
        if name not in mini.families:
            raise unknown_name(f"family of task {mini.name!r}", name, mini.families)
        if names.count(name) > 1:
            raise ConfigError(f"Family {name!r} is asked for twice; name each family once.")
    return names


def _check_difficulties(
    mini: MiniTask, split: str, names: Sequence[str], wanted: Collection[int] | None
) -> None:
    """Refuses levels that the split never has, where the stream would search for ever."""
    if wanted is None:
        return
    known = {
        mini.difficulty_of(SampleKey(mini.name, split, 0, name, index))
        for name in names
        for index in range(60)
    }
    for level in wanted:
        if level not in known:
            known_text = ", ".join(map(str, sorted(known)))
            raise ConfigError(f"Split {split!r} has no difficulty {level}; known: {known_text}.")
    if not wanted:
        raise ConfigError("No difficulties were asked for; leave difficulties unset.")


def _stream(
    mini: MiniTask,
    split: str,
    names: tuple[str, ...],
    seed: int,
    size: int,
    start: int,
    difficulties: Collection[int] | None,
) -> Iterator[Sample]:
    for position in count(start):
        index, number = divmod(position, len(names))
        key = SampleKey(mini.name, split, seed, names[number], index)
        if difficulties is None or mini.difficulty_of(key) in difficulties:
            yield mini.build(key, size)
