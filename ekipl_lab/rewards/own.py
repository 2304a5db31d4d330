"""A reward of your own: one Python function in a file, named ``python:rewards.py:closeness``.

::

    def closeness(completion: str, sample: Sample) -> float | None:
        \"\"\"1 for a right answer, less for a near one; None where it cannot be judged.\"\"\"

It becomes the ``accuracy`` component, success is 1; the format component stays the library's. The
file is run as Python: name only files that you trust.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError, RewardError
from ekipl_lab.parsing import Parsed
from ekipl_lab.rewards.matchers import Match
from ekipl_lab.rewards.typed import Scorer, scorer_of
from ekipl_lab.types import Sample

PREFIX = "python:"

OwnReward = Callable[[str, Sample], float | None]


def load_function(name: str) -> OwnReward:
    """The function of ``python:FILE:FUNCTION``; ConfigError if there is none."""
    path, _, function = name.removeprefix(PREFIX).rpartition(":")
    if not path or not function.isidentifier():
        raise ConfigError(f"{name!r} must have the form {PREFIX}FILE.py:FUNCTION.")
    if not Path(path).is_file():
        raise ConfigError(f"The reward file {path} does not exist; fix {name!r}.")
    spec = importlib.util.spec_from_file_location(f"own_reward_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"The reward file {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        raise ConfigError(f"The reward file {path} has no function {function!r}.")
    return found  # type: ignore[no-any-return]


def own_scorer(name: str, weights: Mapping[str, float]) -> Scorer:
    """The scorer of a user's function.

    RewardError, naming the sample, for a value that is no number in [0, 1], and around any
    exception that the function raises: a defect in a reward must not look like a wrong answer.
    """
    function = load_function(name)

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
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"returned {value!r}, not a number from 0 to 1 or None")
    return number
