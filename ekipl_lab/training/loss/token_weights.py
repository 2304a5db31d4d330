"""Brings the weight of teacher tokens and the SFT term into TRL's loss, and measures all tokens.

Metrics of every update, over all ranks, per action source (``policy`` or a teacher's id):

    tokens/<source>/mean_weight  max_weight   pi/pi_old, or the weight of teacher tokens
    tokens/<source>/effective_share           (sum w)^2 / (n sum w^2)
    tokens/<source>/clipped                   share of tokens that TRL's clip leaves without slope
    tokens/<source>/mean_logp  kl             log pi; KL to the reference, where there is one
    policy/entropy                            of the policy's own tokens
    sft/mu  sft/nll                           of the SFT term, where something is imitated
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ekipl_lab.groups.distill import distilled_advantages
from ekipl_lab.groups.options import EKIPLOptions, Teacher
from ekipl_lab.groups.schedules import parameters_at, scheduled
from ekipl_lab.groups.weighting import as_trl, get_weighting, objective_slope
from ekipl_lab.training.config.combinations import no_q
from ekipl_lab.types import POLICY


class TokenWeights:
    """Applied inside the loss, once the policy's log-probabilities of a micro-batch are known.

    ``clip`` is (epsilon_low, epsilon_high), None for a loss without a clipped ratio per token;
    ``delta`` is TRL's upper bound of the ratio where the advantage is negative, None for none.
    """

    def __init__(
        self,
        options: EKIPLOptions,
        teachers: Sequence[str],
        accelerator: Any,
        clip: tuple[float, float] | None,
        delta: float | None = None,
    ) -> None:
        self._options, self._sources, self._clip = options, (POLICY, *teachers), clip
        self._weighting = get_weighting(options.weighting, options.weighting_params)
        self._accelerator, self._delta = accelerator, delta

    def apply(
        self, inputs: dict[str, Any], logps: torch.Tensor, entropies: torch.Tensor, step: int
    ) -> dict[str, float]:
        """Give the rows of ``inputs`` their advantages and denominators; return metrics.

        ``inputs`` is the loss's own dict, changed in place; ``logps`` (B, T) are differentiable;
        ``step`` counts the optimiser steps done. Rows of the policy keep exactly what they had,
        unless an SFT term takes its share. Called on every rank.
        """
        detached = logps.detach()
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        old = inputs.get("old_per_token_logps")
        old = detached if old is None else old
        weight = torch.exp(detached - old)
        metrics = {}
        if "distill_logps" in inputs:
            inputs["advantages"] = distilled_advantages(
                inputs["advantages"], detached, inputs["distill_logps"], self._options.distill
            )
        if bool((inputs["action_source"] > 0).any()):
            weight = self._weigh_teachers(inputs, detached, old, mask, weight, step)
        if "imitate" in inputs:
            metrics = self._imitate(inputs, detached, old, mask, step)
        return metrics | self._measure(inputs, detached, entropies.detach(), weight, mask)

    def _weigh_teachers(
        self,
        inputs: dict[str, Any],
        logps: torch.Tensor,
        old: torch.Tensor,
        mask: torch.Tensor,
        weight: torch.Tensor,
        step: int,
    ) -> torch.Tensor:
        """Weights (B, T), those of teacher rows by the weighting and the schedule."""
        options, teacher = self._options, inputs["action_source"] > 0
        factor = scheduled(options.schedules, "teacher_weight", step, 1.0)
        if options.weighting == "policy_ratio" and factor == 1.0:
            return weight
        advantages = inputs["advantages"].unsqueeze(1).expand_as(logps).clone()
        denominators, weight = old.clone(), weight.clone()
        params = parameters_at(options.schedules, "weighting_params.", step)
        advantages[teacher], denominators[teacher], weight[teacher] = as_trl(
            self._weighting,
            logps[teacher],
            old[teacher],
            inputs["teacher_logps"][teacher] if self._weighting.needs_q else None,
            mask[teacher],
            factor * advantages[teacher],
            **{**options.weighting_params, **params},
        )
        weight[teacher] *= factor
        inputs["advantages"], inputs["old_per_token_logps"] = advantages, denominators
        return weight

    def _imitate(
        self,
        inputs: dict[str, Any],
        logps: torch.Tensor,
        old: torch.Tensor,
        mask: torch.Tensor,
        step: int,
    ) -> dict[str, float]:
        """Add mu L_SFT, and for the chords take mu from the rest (`mixing`)."""
        mixing, share = self._options.sft, inputs["imitate"].unsqueeze(1)
        mu = scheduled(self._options.schedules, "sft.mu", step, mixing.mu)
        rest = 1.0 - mu if mixing.chord else 1.0
        advantages = inputs["advantages"]
        advantages = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
        advantages = (rest * advantages).expand_as(logps).clone()
        denominators = inputs.get("old_per_token_logps")
        denominators = (old if denominators is None else denominators).clone()
        phi = torch.exp(logps) * (1 - torch.exp(logps)) if mixing.type == "chord_phi" else 1.0
        rows = inputs["imitate"] > 0
        # Both terms of an imitated row through their slopes, at ratio 1 (as in `as_trl`).
        assert self._clip is not None
        slopes = objective_slope(logps - denominators, advantages, *self._clip)
        advantages[rows] = (slopes + mu * share * phi)[rows]
        denominators[rows] = logps[rows]
        inputs["advantages"], inputs["old_per_token_logps"] = advantages, denominators
        tokens = mask * (share > 0)
        sums = torch.stack([tokens.sum().double(), (-logps * tokens).sum().double()])
        count, nll = self._accelerator.reduce(sums, reduction="sum").tolist()
        return {"sft/mu": mu} | ({"sft/nll": nll / count} if count else {})

    def _measure(
        self,
        inputs: dict[str, Any],
        logps: torch.Tensor,
        entropies: torch.Tensor,
        weight: torch.Tensor,
        mask: torch.Tensor,
    ) -> dict[str, float]:
        """Sums per source in one reduction over all ranks, and the largest weights."""
        columns = {
            "mean_logp": logps,
            "mean_weight": weight,
            "square": weight.square(),
            "entropy": entropies,
            "clipped": self._clipped(inputs, logps),
            "kl": _kl(inputs.get("ref_per_token_logps"), logps),
        }
        known = {name: column for name, column in columns.items() if column is not None}
        sums, tops = [], []
        for index in range(len(self._sources)):
            theirs = mask * (inputs["action_source"] == index).unsqueeze(1)
            sums.append([theirs.sum(), *((column * theirs).sum() for column in known.values())])
            tops.append((weight * theirs).max())
        stacked = torch.stack([torch.stack([v.double() for v in row]) for row in sums])
        total = self._accelerator.reduce(stacked, reduction="sum").tolist()
        largest = self._accelerator.gather(torch.stack(tops).unsqueeze(0)).amax(0).tolist()
        metrics: dict[str, float] = {}
        for source, (count, *values), top in zip(self._sources, total, largest, strict=True):
            if not count:
                continue
            found = dict(zip(known, values, strict=True))
            square, entropy = found.pop("square"), found.pop("entropy")
            own = {name: value / count for name, value in found.items()}
            own["max_weight"] = top
            own["effective_share"] = found["mean_weight"] ** 2 / (square * count) if square else 0.0
            metrics |= {f"tokens/{source}/{name}": value for name, value in own.items()}
            if source == POLICY:
                metrics["policy/entropy"] = entropy / count
        return metrics

    def _clipped(self, inputs: dict[str, Any], logps: torch.Tensor) -> torch.Tensor | None:
        if self._clip is None:
            return None
        advantages, old = inputs["advantages"], inputs.get("old_per_token_logps")
        advantages = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
        ratio = torch.exp(logps - (logps if old is None else old))
        low, high = ratio < 1 - self._clip[0], ratio > 1 + self._clip[1]
        clipped: torch.Tensor = (low & (advantages < 0)) | (high & (advantages > 0))
        if self._delta is not None:
            clipped = clipped | ((ratio > self._delta) & (advantages < 0))
        return clipped.float()


def _kl(reference: torch.Tensor | None, logps: torch.Tensor) -> torch.Tensor | None:
    """TRL's estimate per token."""
    if reference is None:
        return None
    return torch.exp(reference - logps) - (reference - logps) - 1


def check_scored(name: str, teachers: Sequence[Teacher], tokenizer_id: str) -> None:
    """ConfigError where a weighting divides by q and a teacher does not give it.

    q must be of the policy's own tokens, hence of the same tokenizer (by hash).
    """
    for teacher in teachers if get_weighting(name).needs_q else ():
        able = teacher.source.capabilities
        if not able.logprobs or able.tokenizer_id != tokenizer_id:
            lack = "has another tokenizer" if able.logprobs else "gives none"
            raise no_q(name, teacher.source.id, lack)
