"""Random numbers that depend on what is asked, not on when or in which process."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

from ekipl_lab.types import Action, Sample


def stable_int(*parts: object) -> int:
    """A 63-bit integer from the parts' texts, the same in every process and Python version."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stable_random(seed: int, sample_id: str, index: int, draw: int | None) -> random.Random:
    """The generator of action number ``index`` for a sample, in draw number ``draw``.

    A caller that asks the same sample again and wants fresh actions passes another ``draw``
    (``GenerationParams.seed``); None counts as 0.
    """
    return random.Random(stable_int(seed, sample_id, index, draw or 0))


def draw_actions(
    act: Callable[[Sample, random.Random], Action],
    samples: Sequence[Sample],
    num_actions: int,
    *,
    seed: int,
    draw: int | None,
) -> list[list[Action]]:
    """``num_actions`` actions for every sample, each from random numbers of its own.

    They depend on the teacher's seed, the sample's id, the index of the action, and the draw.
    """
    return [
        [act(sample, stable_random(seed, sample.id, index, draw)) for index in range(num_actions)]
        for sample in samples
    ]
