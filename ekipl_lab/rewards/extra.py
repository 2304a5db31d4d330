"""Rewards beside accuracy and format: more components, each with a weight of its own.

``overlong`` is the soft penalty of DAPO (arXiv 2503.14476, equation 13): with a limit L and a
buffer C, an action of n tokens gets 0 up to L - C, then (L - C - n) / C, which is -1 at the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ekipl_lab.errors import ConfigError
from ekipl_lab.rewards.typed import DEFAULT_WEIGHTS
from ekipl_lab.types import Action, RewardBreakdown, Sample, Scorer

#: What one more component of an action is; None where it cannot be judged.
Criterion = Callable[[Sample, Action], float | None]


def with_extra(scorer: Scorer, extra: Mapping[str, tuple[Criterion, float]]) -> Scorer:
    """The scorer with more components, name -> (criterion, weight); success stays its own."""
    if not extra:
        return scorer
    if taken := sorted(set(extra) & set(DEFAULT_WEIGHTS)):
        raise ConfigError(f"reward.extra names {taken[0]!r}, which the scorer gives; rename it.")

    def score(sample: Sample, action: Action) -> RewardBreakdown:
        own = scorer(sample, action)
        values = {name: criterion(sample, action) for name, (criterion, _) in extra.items()}
        weights = {name: weight for name, (_, weight) in extra.items()}
        return replace(
            own, components={**own.components, **values}, weights={**own.weights, **weights}
        )

    return score


def accuracy_of(scorer: Scorer) -> Criterion:
    """The accuracy component of a scorer, as a criterion of its own."""
    return lambda sample, action: scorer(sample, action).components["accuracy"]


def overlong(limit: int, buffer: int) -> Criterion:
    """DAPO's soft penalty over the last ``buffer`` of ``limit`` tokens, from 0 down to -1.

    None for an action whose tokens are not known. Raises ConfigError for a buffer over the limit.
    """
    if not 1 <= buffer <= limit:
        raise ConfigError(
            f"reward.overlong.buffer is {buffer}; it must be 1 to grpo.max_completion_length "
            f"({limit})."
        )

    def penalty(sample: Sample, action: Action) -> float | None:
        if action.token_ids is None:
            return None
        return max(-1.0, min(0.0, (limit - buffer - len(action.token_ids)) / buffer))

    return penalty
