"""What multiplies the advantage on the tokens of a teacher's action.

A policy token always has the weight pi/pi_old, clipped (TRL's own). For a teacher's tokens a
weighting gives a `TokenWeight` from `TokenLogps`, and the objective per token, to be maximised, is

    clipped:    min(ratio * A', clamp(ratio, 1 - eps_low, 1 + eps_high) * A')
    unclipped:  ratio * A'                              with A' = factor * A

At one update per generation pi = pi_old: `policy_ratio` is 1 in value (its gradient is the
advantage-weighted log-likelihood) and its clip never acts. `as_trl` turns a weight into the two
inputs from which TRL's own loss computes exactly the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.registry import AboveZero, find_entry


@dataclass(frozen=True, slots=True)
class TokenLogps:
    """Log-probabilities (B, T) of the tokens of a teacher's actions.

    logp      log pi_theta, differentiable
    old_logp  log pi_old, the policy that sampled the batch; constant
    q_logp    log q, the teacher's own probability of its tokens; constant, None if unknown
    mask      1 on completion tokens
    """

    logp: torch.Tensor
    old_logp: torch.Tensor
    q_logp: torch.Tensor | None
    mask: torch.Tensor

    @property
    def q(self) -> torch.Tensor:
        """``q_logp`` in a weighting that ``needs_q``."""
        assert self.q_logp is not None
        return self.q_logp


@dataclass(frozen=True, slots=True)
class TokenWeight:
    """``ratio`` (B, T) differentiable; ``factor`` (B, T) or scalar, constant; see the module."""

    ratio: torch.Tensor
    factor: torch.Tensor
    clipped: bool


@dataclass(frozen=True, slots=True)
class Weighting:
    """``weigh(logps, **params)``, and whether it needs the teacher's own token probabilities."""

    weigh: Callable[..., TokenWeight]
    needs_q: bool = False

    def __call__(
        self,
        logp: torch.Tensor,
        old_logp: torch.Tensor,
        q_logp: torch.Tensor | None,
        mask: torch.Tensor,
        **params: Any,
    ) -> TokenWeight:
        """The weight of tokens with these log-probabilities (see `TokenLogps`)."""
        if self.needs_q and q_logp is None:
            raise ConfigError(
                f"Weighting {self.weigh.__name__!r} needs the teacher's own token probabilities, "
                "and this teacher gives none; choose policy_ratio, shaped or mixture_ratio."
            )
        return self.weigh(TokenLogps(logp, old_logp, q_logp, mask), **params)


def policy_ratio(p: TokenLogps) -> TokenWeight:
    """pi / pi_old, clipped: Vision-EKIPL's main text, and what its reported runs use."""
    return TokenWeight(torch.exp(p.logp - p.old_logp), torch.ones_like(p.old_logp), clipped=True)


def proposal_ratio(p: TokenLogps) -> TokenWeight:
    """pi / q per token, clipped: the paper's appendix. Exact only without selection."""
    return TokenWeight(torch.exp(p.logp - p.q), torch.ones_like(p.q), clipped=True)


def proposal_ratio_sequence(p: TokenLogps, *, truncate: AboveZero = 2.0) -> TokenWeight:
    """w = sg(min(product over the action of pi / q, ``truncate``)), as w pi / sg(pi) per token.

    The gradient is w times that of the action's log-likelihood: truncated importance sampling. An
    action counts once however many tokens it has, as a policy row does, and an action beyond
    the truncation still pulls, with the weight ``truncate``.
    """
    log_product_B1 = ((p.logp.detach() - p.q) * p.mask).sum(-1, keepdim=True)
    # Truncated as a logarithm: exp of a long action overflows.
    product_B1 = torch.exp(log_product_B1.clamp(max=math.log(truncate))).clamp(max=truncate)
    ratio = product_B1 * torch.exp(p.logp - p.logp.detach())
    return TokenWeight(ratio, torch.ones_like(p.q), clipped=False)


def decoupled(p: TokenLogps, *, truncate: AboveZero = 2.0) -> TokenWeight:
    """Clip on pi / pi_old; constant min(pi_old / q, truncate) on the advantage (decoupled PPO)."""
    factor = torch.exp(p.old_logp - p.q).clamp(max=truncate)
    return TokenWeight(torch.exp(p.logp - p.old_logp), factor, clipped=True)


def shaped(p: TokenLogps, *, gamma: AboveZero = 0.1) -> TokenWeight:
    """pi / (pi + gamma), unclipped: LUFFY's policy shaping, arXiv 2504.14945."""
    pi = torch.exp(p.logp)
    return TokenWeight(pi / (pi + gamma), torch.ones_like(p.old_logp), clipped=False)


def mixture_ratio(p: TokenLogps) -> TokenWeight:
    """2 pi / (pi_old + pi_w), pi_w = (pi_old + 1) / 2, unclipped; factor (1 - pi)^0.5: RL-PLUS."""
    old = torch.exp(p.old_logp)
    ratio = 2 * torch.exp(p.logp) / (old + (old + 1) / 2)
    factor = (1 - torch.exp(p.logp.detach())).clamp(min=0).sqrt()
    return TokenWeight(ratio, factor, clipped=False)


WEIGHTINGS: dict[str, Weighting] = {
    "policy_ratio": Weighting(policy_ratio),
    "proposal_ratio": Weighting(proposal_ratio, needs_q=True),
    "proposal_ratio_sequence": Weighting(proposal_ratio_sequence, needs_q=True),
    "decoupled": Weighting(decoupled, needs_q=True),
    "shaped": Weighting(shaped),
    "mixture_ratio": Weighting(mixture_ratio),
}


def get_weighting(name: str, params: Mapping[str, Any] | None = None) -> Weighting:
    """The weighting of that name; ConfigError for an unknown name or parameter."""
    return find_entry("weighting", WEIGHTINGS, name, lambda w: w.weigh, params or {})


def objective(
    weight: TokenWeight, advantages: torch.Tensor, epsilon_low: float, epsilon_high: float
) -> torch.Tensor:
    """The objective per token (B, T), to be maximised. ``advantages`` is (B, 1) or (B, T)."""
    scaled = advantages * weight.factor
    if not weight.clipped:
        return weight.ratio * scaled
    clamped = torch.clamp(weight.ratio, 1 - epsilon_low, 1 + epsilon_high)
    return torch.min(weight.ratio * scaled, clamped * scaled)


def objective_slope(
    log_ratio: torch.Tensor, advantages: torch.Tensor, epsilon_low: float, epsilon_high: float
) -> torch.Tensor:
    """d min(r A, clamp(r) A) / d log pi with r = exp(log_ratio): r A, or 0 where the clip acts."""
    ratio = torch.exp(log_ratio)
    clamped = torch.clamp(ratio, 1 - epsilon_low, 1 + epsilon_high)
    return torch.where(clamped * advantages < ratio * advantages, 0.0, ratio * advantages)


def as_trl(
    weighting: Weighting,
    logp: torch.Tensor,
    old_logp: torch.Tensor,
    q_logp: torch.Tensor | None,
    mask: torch.Tensor,
    advantages: torch.Tensor,
    **params: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(advantages, old_logp, weight), all (B, T) and constant, for TRL's clipped surrogate.

    TRL differentiates min(r A, clamp(r) A) with r = exp(logp - old_logp). A clipped weight enters
    as its own denominator. An unclipped one enters through its derivative, d ratio / d logp, with
    r = 1, where the clip cannot act. Either way the gradient is exactly the objective's; the
    *value* of the loss is not, for unclipped weights. ``weight`` is ratio * factor, to be logged.
    """
    leaf = logp.detach().clone().requires_grad_()
    with torch.enable_grad():
        weight = weighting(leaf, old_logp, q_logp, mask, **params)
        (slope,) = torch.autograd.grad((weight.ratio * mask).sum(), leaf)
    ratio = weight.ratio.detach()
    scaled = (advantages * weight.factor).detach()
    if weight.clipped:
        return scaled.expand_as(ratio), leaf.detach() - torch.log(ratio), ratio * weight.factor
    return scaled * slope, leaf.detach(), ratio * weight.factor
