"""Weights of positive and negative advantages, and a veto on negatives beside a teacher's action.

    A'_i = positive * A_i   where A_i > 0
    A'_i = negative * A_i   where A_i < 0
    A'_i = 0                with ``veto``: where A_i < 0, the row is a failed action of the policy,
                            and the group keeps a teacher's action

positive 0.1 beside negative 1 is W-REINFORCE, positive 0 its NSR (arXiv 2506.01347, whose rewards
are +1 and -1; here the weights are on GRPO's advantages); the opposite is positive 1 beside
negative 0.1. The veto is the coarse form of NTHR (arXiv 2505.18830), which weighs down single
tokens of failed actions that share what a right action says: a failed action next to a teacher's
right one mostly shares its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ekipl_lab.validation import Section


class SignWeights(Section):
    """``positive`` and ``negative`` weights of advantages by their sign; ``veto`` on negatives."""

    positive: float = Field(default=1.0, ge=0.0, le=10.0)
    negative: float = Field(default=1.0, ge=0.0, le=10.0)
    veto: bool = False

    @property
    def neutral(self) -> bool:
        """Whether nothing is changed."""
        return (self.positive, self.negative, self.veto) == (1.0, 1.0, False)


def weigh_signs(
    advantages: Sequence[float],
    is_policy: Sequence[bool],
    success: Sequence[bool],
    weights: SignWeights,
) -> list[float]:
    """The weighed advantages (G,) of the kept actions; all three sequences are theirs, (G,)."""
    if weights.neutral:
        return list(advantages)
    vetoed = weights.veto and not all(is_policy)
    return [
        weights.positive * a
        if a > 0
        else 0.0
        if vetoed and mine and not right
        else weights.negative * a
        for a, mine, right in zip(advantages, is_policy, success, strict=True)
    ]
