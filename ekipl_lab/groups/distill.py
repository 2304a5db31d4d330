"""On-policy distillation as an advantage: the policy's own tokens, judged by a teacher's model.

    A'_t = reward * A + weight * (log q(y_t) - log pi(y_t))

q is the teacher's probability of the token that the policy sampled, so that the expectation of the
second term's gradient is that of the negative reverse KL, token by token (MiniLLM, arXiv
2306.08543; GKD, 2306.13649, with on-policy samples and reverse KL). ``reward`` 0 is distillation
alone.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator

from ekipl_lab.errors import ConfigError
from ekipl_lab.validation import Section


class Distillation(Section):
    """``path`` of a teacher with the policy's tokenizer (unset: off); weights of the two terms."""

    path: str | None = None
    weight: float = Field(default=1.0, gt=0.0, le=100.0)
    reward: float = Field(default=0.0, ge=0.0, le=100.0)

    @model_validator(mode="after")
    def _has_a_teacher(self) -> Self:
        if self.path is None and (self.weight, self.reward) != (1.0, 0.0):
            raise ConfigError("ekipl.distill needs a teacher's weights; give ekipl.distill.path.")
        return self

    @property
    def on(self) -> bool:
        """Whether a teacher judges the policy's tokens."""
        return self.path is not None


def distilled_advantages(
    advantages: torch.Tensor, logp: torch.Tensor, teacher_logp: torch.Tensor, own: Distillation
) -> torch.Tensor:
    """A' (B, T) from advantages (B,) or (B, T) and log-probabilities (B, T), all constant."""
    per_token = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
    return own.reward * per_token + own.weight * (teacher_logp - logp)
