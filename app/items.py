"""Benchmark items for the page: what can be chosen, and one item by its id."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from PIL.Image import Image

from app.state import ALL_FAMILIES
from ekipl_lab import benchmarks
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.stream import study_families
from ekipl_lab.errors import unknown_name
from ekipl_lab.types import Sample

BENCHMARK = "mini"
#: Side of the picture that a person looks at, drawn from the same scene.
LARGE = 448
#: Task, split, family and number that the controls show where the item is none.
FIRST = ("counting", "validation", ALL_FAMILIES, 0)


def list_tasks() -> list[str]:
    """Tasks of the built-in benchmark."""
    return list(benchmarks.BENCHMARKS[BENCHMARK].tasks)


def list_families(task: str) -> list[str]:
    """Families of a task with images: those that studies use first, then the others."""
    if task not in MINI_TASKS:
        raise unknown_name("task", task, MINI_TASKS)
    table = MINI_TASKS[task].families.values()
    shown = [family for family in table if family.images]
    return [f.name for f in sorted(shown, key=lambda f: f.status != "study")]


def item_at(task: str, split: str, family: str, number: int) -> Sample:
    """The ``number``-th item (from 0) of the stream that the filters leave."""
    families = None if family == ALL_FAMILIES else [family]
    return benchmarks.load_samples(
        BENCHMARK, task=task, split=split, families=families, start=max(0, number), limit=1
    )[0]


def is_built_in(data: Mapping[str, Any]) -> bool:
    """Whether the data settings of a run name the built-in benchmark."""
    return bool(data.get("benchmark", BENCHMARK) == BENCHMARK)


def first_item(data: Mapping[str, Any]) -> Sample:
    """The item that the page opens with: the first for validation of what a run trains on."""
    if "task" not in data or not is_built_in(data):
        return item_at(*FIRST)
    families = data.get("families") or [ALL_FAMILIES]
    return item_at(data["task"], "validation", families[0], 0)


def position_of(sample_id: str, family: str) -> tuple[str, str, str, int]:
    """Task, split, family filter and number of an id; ConfigError for no such id.

    A filter that would hide the item gives way to the item's own family.
    """
    sample = benchmarks.load_sample(sample_id)
    index = int(sample_id.rsplit("/", 1)[1])
    names = list(study_families(sample.task)) if family == ALL_FAMILIES else [family]
    if sample.family not in names:
        family, names = sample.family, [sample.family]
    return sample.task, sample.split, family, index * len(names) + names.index(sample.family)


def random_number(split: str) -> int:
    """A number of an item, drawn afresh."""
    return random.randrange(benchmarks.BENCHMARKS[BENCHMARK].sizes[split])


def draw_large(sample: Sample) -> tuple[Image, ...]:
    """The same scene drawn for a person; the sample's own images where it cannot be redrawn."""
    return _drawn(sample.id) if sample.id.startswith(f"{BENCHMARK}/") else sample.images


@lru_cache(maxsize=64)
def _drawn(sample_id: str) -> tuple[Image, ...]:
    return benchmarks.load_sample(sample_id, image_size=LARGE).images
