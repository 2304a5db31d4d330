"""Brings the weight of teacher tokens into TRL's loss, and measures those tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ekipl_lab.errors import ConfigError
from ekipl_lab.training.pooling import EKIPLOptions, Teacher
from ekipl_lab.weighting import NEEDS_Q, as_trl, get_weighting


class TokenWeights:
    """Applied inside the loss, once the policy's log-probabilities of a micro-batch are known."""

    def __init__(self, options: EKIPLOptions, accelerator: Any) -> None:
        self._name, self._params = options.weighting, dict(options.weighting_params)
        self._weighting = get_weighting(self._name, self._params)
        self._accelerator = accelerator

    def apply(
        self, inputs: dict[str, Any], logps: torch.Tensor, entropies: torch.Tensor
    ) -> dict[str, float]:
        """Give the teacher rows of ``inputs`` their advantages and denominators; return metrics.

        ``inputs`` is the loss's own dict, changed in place; ``logps`` (B, T) are differentiable.
        Rows of the policy keep exactly what they had. Called on every rank.
        """
        detached = logps.detach()
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        teacher = inputs["action_source"] > 0
        old = inputs.get("old_per_token_logps")
        old = detached if old is None else old
        ratio = torch.exp(detached - old)
        if self._name != "policy_ratio" and bool(teacher.any()):
            advantages = inputs["advantages"].unsqueeze(1).expand_as(detached).clone()
            denominators = old.clone()
            advantages[teacher], denominators[teacher], ratio[teacher] = as_trl(
                self._weighting,
                detached[teacher],
                old[teacher],
                inputs["teacher_logps"][teacher] if self._name in NEEDS_Q else None,
                mask[teacher],
                advantages[teacher],
                **self._params,
            )
            inputs["advantages"], inputs["old_per_token_logps"] = advantages, denominators
        return self._measure(detached, entropies.detach(), ratio, mask, teacher)

    def _measure(
        self,
        logps: torch.Tensor,
        entropies: torch.Tensor,
        weight: torch.Tensor,
        mask: torch.Tensor,
        teacher: torch.Tensor,
    ) -> dict[str, float]:
        """Over all ranks: entropy of policy tokens; log pi and weights of teacher tokens."""
        theirs = mask * teacher.unsqueeze(1)
        ours = mask - theirs
        sums = torch.stack(
            [
                ours.sum().double(),
                (entropies * ours).sum().double(),
                theirs.sum().double(),
                (logps * theirs).sum().double(),
                (weight * theirs).sum().double(),
                (weight.square() * theirs).sum().double(),
            ]
        )
        total = self._accelerator.reduce(sums, reduction="sum").tolist()
        metrics = {"policy/entropy": total[1] / total[0]} if total[0] else {}
        if total[2]:
            metrics |= {
                "teacher_tokens/mean_logp": total[3] / total[2],
                "teacher_tokens/mean_weight": total[4] / total[2],
                "teacher_tokens/effective_share": total[4] ** 2 / (total[5] * total[2])
                if total[5]
                else 0.0,
            }
        return metrics


def check_scored(name: str, teachers: Sequence[Teacher], tokenizer_id: str) -> None:
    """ConfigError where a weighting divides by q and a teacher does not give it.

    q must be of the policy's own tokens, hence of the same tokenizer (by hash).
    """
    for teacher in teachers if name in NEEDS_Q else ():
        able = teacher.source.capabilities
        if not able.logprobs or able.tokenizer_id != tokenizer_id:
            lack = "has another tokenizer" if able.logprobs else "gives none"
            raise ConfigError(
                f"Weighting {name!r} divides by the teacher's own token probabilities, and teacher "
                f"{teacher.source.id!r} {lack}; choose policy_ratio, shaped or mixture_ratio, or a "
                "local teacher with the policy's tokenizer."
            )
