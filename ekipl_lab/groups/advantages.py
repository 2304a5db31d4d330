"""How far each kept action lies above its group, in units of the group's spread.

    A_i = (R_i - baseline) / (spread + 1e-4),   i over the G kept actions

Over the kept group (the paper, arXiv 2506.06856, and the default) this is TRL's own arithmetic,
operation by operation: float32, standard deviation with ddof 1, NaN left out of mean and spread
and given advantage 0. Other baselines and spreads are measured over the whole pool or over the
policy's actions alone. Then nothing bounds A any more: a kept group without spread keeps the bare
difference instead of dividing by 1e-4, and |A| never exceeds sqrt(G), above which the kept
group's own formula cannot rise.

One pair has another bound: `kept` with `none` is TRL's `scale_rewards="none"` to the bit, in units
of the reward and not of a spread, so |A| <= (1 - 1/G) (max - min of the kept rewards). That is
below sqrt(G) as long as rewards span no more than sqrt(G); a reward of another size scales the
update with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ekipl_lab.errors import unknown_name

#: What TRL adds to the spread before it divides.
EPSILON = 1e-4

Mean = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def kept_mean(
    rewards_N: torch.Tensor, kept_G: torch.Tensor, is_policy_N: torch.Tensor
) -> torch.Tensor:
    """Mean reward of the kept actions."""
    return torch.nanmean(rewards_N[kept_G])


def pool_mean(
    rewards_N: torch.Tensor, kept_G: torch.Tensor, is_policy_N: torch.Tensor
) -> torch.Tensor:
    """Mean reward of all candidates."""
    return torch.nanmean(rewards_N)


def policy_mean(
    rewards_N: torch.Tensor, kept_G: torch.Tensor, is_policy_N: torch.Tensor
) -> torch.Tensor:
    """Mean reward of the policy's candidates, kept or not."""
    return torch.nanmean(rewards_N[is_policy_N])


BASELINES: dict[str, Mean] = {"kept": kept_mean, "pool": pool_mean, "policy": policy_mean}

#: What the difference is divided by; "group" is the kept group and TRL's name for it.
SPREADS = ("group", "pool", "none")


def compute_advantages(
    rewards: list[float],
    kept: list[int],
    is_policy: list[bool],
    *,
    baseline: str = "kept",
    scale_rewards: str = "group",
) -> list[float]:
    """Advantages (G,) of the kept actions.

    Args:
        rewards: (N,) totals, NaN where unscorable.
        kept: (G,) indices into the pool.
        is_policy: (N,).
        baseline: a name in `BASELINES`.
        scale_rewards: a name in `SPREADS`.

    Raises:
        ConfigError: unknown baseline or spread.
    """
    check_names(baseline, scale_rewards)
    rewards_N = torch.tensor(rewards, dtype=torch.float32)
    kept_G = torch.tensor(kept, dtype=torch.long)
    is_policy_N = torch.tensor(is_policy, dtype=torch.bool)
    kept_rewards_G = rewards_N[kept_G]
    advantages_G = kept_rewards_G - BASELINES[baseline](rewards_N, kept_G, is_policy_N)
    own = baseline == "kept" and scale_rewards in ("group", "none")
    if scale_rewards != "none":
        spread_over = kept_rewards_G if scale_rewards == "group" else rewards_N
        if own or _varies(spread_over):
            advantages_G = advantages_G / (nan_std(spread_over) + EPSILON)
    if not own:
        bound = math.sqrt(len(kept))
        advantages_G = advantages_G.clamp(-bound, bound)
    values: list[float] = torch.nan_to_num(advantages_G, nan=0.0).tolist()
    return values


def check_names(baseline: str, scale_rewards: str) -> None:
    """ConfigError for a baseline or spread that does not exist."""
    if baseline not in BASELINES:
        raise unknown_name("baseline", baseline, BASELINES)
    if scale_rewards not in SPREADS:
        raise unknown_name("scale_rewards", scale_rewards, SPREADS)


def _varies(values: torch.Tensor) -> bool:
    """True if two scorable values differ; a standard deviation is not 0 exactly for equal ones."""
    scorable = values[~torch.isnan(values)]
    return len(scorable) > 1 and bool(scorable.min() < scorable.max())


def nan_std(values: torch.Tensor) -> torch.Tensor:
    """Standard deviation (ddof 1) of the non-NaN values, NaN for fewer than two: TRL's nanstd."""
    variance = torch.nanmean((values - torch.nanmean(values)) ** 2)
    count = torch.sum(~torch.isnan(values))
    correction = torch.where(count > 1, count / (count - 1), torch.tensor(float("nan")))
    return torch.sqrt(variance * correction)
