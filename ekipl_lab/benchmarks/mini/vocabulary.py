"""The words of a task of the built-in benchmark, for building a small tokenizer."""

from __future__ import annotations

import re
from itertools import islice

from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
from ekipl_lab.benchmarks.mini.stream import MINI_TASKS, iterate
from ekipl_lab.benchmarks.seeding import rng_for

_WORD = re.compile(r"[A-Za-z_]+[0-9]*")


def words(task: str, samples: int = 60) -> tuple[str, ...]:
    """Sorted words of questions, answers and chains of every family, style and split half.

    Words keep their digits if they begin with a letter (``p12``); numbers and punctuation are left
    out. ``samples`` of each family and split are read, in-domain and out of it.
    """
    found: set[str] = set()
    rng = rng_for("vocabulary", task)
    for family in MINI_TASKS[task].families:
        for split in ("train", "test_ood"):
            stream = iterate(task=task, split=split, families=(family,), image_size=56)
            for sample in islice(stream, samples):
                found.update(_WORD.findall(sample.question))
                for style in CHAIN_STYLES:
                    text = re.sub(
                        r"</?(?:think|answer)>", " ", write_chain(sample, style=style, rng=rng)
                    )
                    found.update(_WORD.findall(text))
    return tuple(sorted(found))
