"""What filling the cache would take, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.teachers.gateway.limits import NANO
from ekipl_lab.teachers.gateway.send import most_usage
from ekipl_lab.types import GenerationParams, Sample


@dataclass(frozen=True, slots=True)
class Estimate:
    """Actions wanted and already held; for the rest: the most it can take, and what it would take
    at the mean of the calls that this account has committed (None if there are none)."""

    actions: int
    held: int
    tokens_at_most: int
    usd_at_most: float
    usd_expected: float | None

    @property
    def missing(self) -> int:
        """Actions still to be bought."""
        return self.actions - self.held


def estimate(
    gateway: Gateway, samples: Sequence[Sample], num_actions: int, params: GenerationParams
) -> Estimate:
    """The estimate for these samples; equal prompts are counted as often as they occur."""
    calls = gateway.missing(samples, num_actions, params)
    most = [most_usage(call, 1, gateway.price) for call in calls]
    costs = [gateway.price.nano_usd(*usage.counts()) for usage in most]
    past = gateway.ledger.summary()
    mean = past.usd / past.committed if past.committed else None
    return Estimate(
        actions=len(samples) * num_actions,
        held=len(samples) * num_actions - len(calls),
        tokens_at_most=sum(sum(usage.counts()) for usage in most),
        usd_at_most=sum(costs) / NANO,
        usd_expected=None if mean is None else mean * len(calls),
    )
