"""How long the processes of a run may have to wait for each other, as its settings say.

torch ends a run whose processes wait longer than ``grpo.ddp_timeout``; where that is not given it
is chosen here, so that a slow teacher or a long evaluation on one rank is not taken for a hang.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ekipl_lab.evaluation.run import default_batch

if TYPE_CHECKING:
    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.training.config.sizes import BatchSizes

#: Seconds: transformers' default, for loading, saving and everything that is not named here.
BASE = 1800
#: Seconds allowed for one token of a batch that is being generated.
PER_TOKEN = 1.0
#: Seconds: a teacher that is waited for "as long as it takes" (``on_error: wait``).
WEEK = 7 * 24 * 3600


def longest_wait(config: RunConfig, sizes: BatchSizes) -> int:
    """Seconds that one rank may be busy while others wait for it."""
    teachers = sum(_asking(spec, sizes.prompts) for spec in config.teachers)
    return min(WEEK, math.ceil(BASE + teachers + _measuring(config)))


def _asking(spec: Any, prompts: int) -> float:
    """The longest that a teacher's actions of one generation can take: every attempt is used up."""
    total = 0.0
    for own in _gateways(spec):
        if own.on_error == "wait":
            return WEEK
        calls = prompts * spec.actions * (1 + own.reask)
        each = (1 + own.retries) * own.timeout + own.retries * own.max_wait
        total += math.ceil(calls / own.in_flight) * each
        if own.requests_per_minute:
            total += 60 * calls / own.requests_per_minute
    return total


def _gateways(spec: Any) -> Iterator[Any]:
    """The gateway's settings of a teacher, or of an ensemble's members."""
    if (own := getattr(spec, "gateway", None)) is not None:
        yield own
    for member in getattr(spec, "members", ()):
        yield from _gateways(member)


def _measuring(config: RunConfig) -> float:
    """By how much one rank's share of an evaluation can be longer: one batch a set and mode."""
    own = config.evaluation
    rows = [default_batch(1), default_batch(own.num_samples) * own.num_samples]
    chunks = sum(math.ceil(count / own.max_rows) for count in rows)
    tokens = float(config.grpo_settings["max_completion_length"])
    return len(own.sets) * chunks * tokens * PER_TOKEN
