"""What a benchmark, a task of the built-in benchmark, and a question family are.

``status`` of a family says what it may be used for:

study      compound answers, best blind solver at or under 15 % (``docs/benchmark.md``)
guessable  a natural question whose small answer space can be guessed; not for studies
sub_skill  one skill on its own, for the warm start and its gates; loaded only by name
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ekipl_lab.types import Sample

#: A scene and everything in ``Sample.metadata`` is described under this version.
MINI_VERSION = "1"
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 56, 448


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of question within a task; ``images`` False means a text-only sub-skill."""

    name: str
    status: str
    example: str
    images: bool = True


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Everything a procedural sample is a function of; ``str`` of it is the sample's id."""

    task: str
    split: str
    seed: int
    family: str
    index: int

    def __str__(self) -> str:
        return f"mini/{self.task}/{self.split}/s{self.seed}/{self.family}/{self.index:06d}"


@dataclass(frozen=True, slots=True)
class MiniTask:
    """One task of the built-in benchmark.

    ``draft(key)`` is the sample without its images; ``render(metadata, size)`` draws them from
    ``Sample.metadata`` alone; ``difficulty_of(key)`` is the difficulty without drafting;
    ``image_size`` is the default side length in pixels.
    """

    name: str
    families: Mapping[str, Family]
    image_size: int
    draft: Callable[[SampleKey], Sample]
    render: Callable[[Mapping[str, Any], int], tuple[Image.Image, ...]]
    difficulty_of: Callable[[SampleKey], int]

    def build(self, key: SampleKey, image_size: int) -> Sample:
        """The sample of a key, its images rendered at ``image_size`` pixels a side."""
        sample = self.draft(key)
        if not self.families[key.family].images:
            return sample
        return replace(sample, images=self.render(sample.metadata, image_size))


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
    iterate: Callable[..., Iterator[Sample]]
