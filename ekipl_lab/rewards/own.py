"""A reward of your own: one Python function in a file, named ``python:rewards.py:closeness``.

::

    def closeness(completion: str, sample: Sample) -> float | None:
        \"\"\"1 for a right answer, less for a near one; None where it cannot be judged.\"\"\"

It becomes the ``accuracy`` component, success is 1; the format component stays the library's. The
file is run as Python: name only files that you trust.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ekipl_lab.errors import RewardError
from ekipl_lab.parsing import Parsed
from ekipl_lab.rewards.matchers import Match
from ekipl_lab.rewards.typed import scorer_of
from ekipl_lab.types import Sample, Scorer
from ekipl_lab.user_code import load_attribute

PREFIX = "python:"

OwnReward = Callable[[str, Sample], float | None]


def code_of(scorer: str) -> str:
    """16 hex digits of the file that a scorer of the user's own is in; empty for another one."""
    if not scorer.startswith(PREFIX):
        return ""
    file = Path(scorer.removeprefix(PREFIX).rpartition(":")[0])
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def own_scorer(name: str, weights: Mapping[str, float]) -> Scorer:
    """The scorer of a user's function.

    RewardError, naming the sample, for a value that is no number in [0, 1], and around any
    exception that the function raises: a defect in a reward must not look like a wrong answer.
    """
    function: OwnReward = load_attribute(
        name.removeprefix(PREFIX), "reward", "function", prefix=PREFIX
    )

    def judge(sample: Sample, completion: str, parsed: Parsed) -> Match:
        try:
            return Match(_checked(function(completion, sample)), name)
        except Exception as error:
            raise RewardError(f"{name} failed on sample {sample.id}: {error!r}.") from error

    return scorer_of(judge, weights)


def _checked(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if isinstance(value, str | bytes) or not 0.0 <= number <= 1.0:
        raise ValueError(f"returned {value!r}, not a number from 0 to 1 or None")
    return number
