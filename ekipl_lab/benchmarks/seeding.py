"""Random streams and splits that are the same on every machine.

Every procedural sample is a function of (benchmark version, task, split, seed, family, index): the
parts are hashed with BLAKE2b (never ``hash()``) into the seed of a private ``random.Random``.
A scene belongs to a split by the hash of its canonical text, so two splits never share a scene,
whatever seeds and indices are drawn.
"""

from __future__ import annotations

import random
from hashlib import blake2b

SPLITS = ("train", "validation", "test", "test_ood")
#: Share of in-domain scenes, in percent, by hash: first train, then validation, then test.
_TRAIN_PERCENT, _VALIDATION_PERCENT = 80, 10


def stable_seed(*parts: object) -> int:
    """A 64-bit integer from the text of ``parts``, equal in every process and on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def rng_for(*parts: object) -> random.Random:
    """A private random stream for ``parts``; no global random state is read or moved."""
    return random.Random(stable_seed(*parts))


def scene_hash(canonical: str) -> str:
    """32 hexadecimal digits that name a canonical scene."""
    return blake2b(canonical.encode(), digest_size=16).hexdigest()


def in_domain_split(digest: str) -> str:
    """The split of an in-domain scene: 80 % train, 10 % validation, 10 % test, by its hash."""
    percent = int(digest[:12], 16) % 100
    if percent < _TRAIN_PERCENT:
        return "train"
    return "validation" if percent < _TRAIN_PERCENT + _VALIDATION_PERCENT else "test"
