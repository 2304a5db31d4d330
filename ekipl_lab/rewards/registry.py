"""Scorers by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.rewards.typed import DEFAULT_WEIGHTS, Scorer, typed_scorer

#: Scorers of samples: ``get_scorer(name)``.
SAMPLE_SCORERS: dict[str, Callable[[dict[str, float]], Scorer]] = {
    "ekipl/auto": typed_scorer,
    "ekipl/strict": lambda weights: typed_scorer(weights, strict=True),
}


def get_scorer(name: str, weights: Mapping[str, float] | None = None) -> Scorer:
    """The scorer ``(sample, action) -> RewardBreakdown`` of that name.

    ``weights`` replaces the weights 1 and 1 of ``accuracy`` and ``format``; components left out
    weigh 0. Raises ConfigError for an unknown scorer or component, or a weight that is not finite.
    """
    if name not in SAMPLE_SCORERS:
        raise unknown_name("scorer", name, SAMPLE_SCORERS)
    return SAMPLE_SCORERS[name](_checked_weights(weights))


def _checked_weights(weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return dict(DEFAULT_WEIGHTS)
    for component, weight in weights.items():
        if component not in DEFAULT_WEIGHTS:
            raise unknown_name("reward component", component, DEFAULT_WEIGHTS)
        if not math.isfinite(weight):
            raise ConfigError(f"The weight of {component!r} is {weight}; it must be finite.")
    return {component: float(weights.get(component, 0.0)) for component in DEFAULT_WEIGHTS}
