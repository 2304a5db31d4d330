"""Random numbers that depend on what is asked, not on when or in which process."""

from __future__ import annotations

import hashlib
import random


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
