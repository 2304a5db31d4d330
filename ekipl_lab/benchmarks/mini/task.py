"""What a task of the built-in benchmark brings, and the sample that is made of it.

``status`` of a family says what it may be used for:

study      compound answers, best blind solver at or under 15 % (``docs/benchmark.md``)
ground     as study, for the strata of study policies (``docs/strata.md``); loaded only by name
guessable  a natural question whose small answer space can be guessed; not for studies
sub_skill  one skill on its own, for the warm start and its gates; loaded only by name
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ekipl_lab.benchmarks.mini.steps import ChainReport
from ekipl_lab.benchmarks.seeding import rng_for, scene_hash
from ekipl_lab.types import Sample

#: A scene and everything in ``Sample.metadata`` is described under this version.
MINI_VERSION = "1"
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 56, 448

Images = tuple[Image.Image, ...]
#: ``Sample.metadata``, which holds the scene and the query of a built-in sample.
Metadata = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of question within a task; ``images`` False means a text-only sub-skill.

    ``answer_form`` says to a model that was not trained on the benchmark what the answer must look
    like; empty where the answer type says it.
    """

    name: str
    status: str
    example: str
    answer_form: str = ""
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
class Draw:
    """What a task is asked to draw: ``shift`` names what is out of domain, "" in-domain."""

    family: str
    level: int
    split: str
    shift: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A question about a scene. ``canonical`` is the text whose hash decides the scene's split;
    ``scene`` and ``query`` are JSON values, kept in ``Sample.metadata``."""

    question: str
    answer: str
    answer_type: str
    canonical: str
    scene: Mapping[str, Any]
    query: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PatchLabels:
    """What each image patch shows, to supervise a vision tower.

    ``label(metadata, (rows, columns))`` has shape (images, patches, columns of labels), -1 where
    there is nothing; ``classes`` is the number of classes of each column.
    """

    classes: tuple[int, ...]
    label: Callable[[Metadata, tuple[int, int]], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class MiniTask:
    """One task of the built-in benchmark: everything that the rest of the project knows of it.

    ``image_size`` is the default side in pixels; ``rules`` say what the pictures mean to a model
    that was not trained on them. ``draw`` draws a scene and asks about it, ``render(metadata,
    size)`` draws the images, ``write(sample, style, fault, rng)`` gives reasoning and answer of a
    reference chain, ``check(sample, reasoning, answer)`` checks any.

    ``shifts`` names what is out of domain, in turn, with the difficulty of such a scene (None: 1 to
    3, in turn, as in-domain). ``scene_family`` is the sub-skill that describes a whole scene, and
    the attributes that it names of each thing. ``with_backdrop`` redraws the images on another
    background: top and bottom colour and stripe period.
    """

    name: str
    families: Mapping[str, Family]
    image_size: int
    rules: str
    draw: Callable[[random.Random, Draw], Drawn]
    render: Callable[[Metadata, int], Images]
    write: Callable[[Sample, str, str, random.Random], tuple[str, str]]
    check: Callable[[Sample, str, str], ChainReport]
    shifts: Mapping[str, int | None]
    scene_family: tuple[str, tuple[str, ...]] | None = None
    patches: PatchLabels | None = None
    with_backdrop: Callable[[Metadata, int, Any], Images] | None = None

    def _turn(self, key: SampleKey) -> tuple[str, int]:
        """The shift of a key, and how often each shift has had its turn before."""
        if key.split != "test_ood":
            return "", key.index
        turn, place = divmod(key.index, len(self.shifts))
        return list(self.shifts)[place], turn

    def difficulty_of(self, key: SampleKey) -> int:
        """The difficulty of a key's sample, without drawing it; every prefix is balanced."""
        shift, turn = self._turn(key)
        return self.shifts.get(shift) or 1 + turn % 3

    def draft(self, key: SampleKey) -> Sample:
        """The sample of a key, without its images."""
        parts = (key.task, key.split, key.seed, key.family, key.index)
        shift, level = self._turn(key)[0], self.difficulty_of(key)
        rng = rng_for("mini", MINI_VERSION, *parts)
        drawn = self.draw(rng, Draw(key.family, level, key.split, shift))
        return Sample(
            id=str(key),
            task=key.task,
            split=key.split,
            images=(),
            question=drawn.question,
            answer=drawn.answer,
            answer_type=drawn.answer_type,
            family=key.family,
            choices=drawn.choices,
            difficulty=level,
            metadata={
                "benchmark": "mini",
                "version": MINI_VERSION,
                "index": key.index,
                "seed": key.seed,
                "shift": shift,
                "scene_hash": scene_hash(drawn.canonical),
                "scene": drawn.scene,
                "query": drawn.query,
            },
        )

    def build(self, key: SampleKey, image_size: int) -> Sample:
        """The sample of a key, its images rendered at ``image_size`` pixels a side."""
        sample = self.draft(key)
        if not self.families[key.family].images:
            return sample
        return replace(sample, images=self.render(sample.metadata, image_size))
