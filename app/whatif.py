"""What other rules would have made of the same candidates, by the library's own functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ekipl_lab.groups.advantages import BASELINES, SPREADS
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.doctor.causes import zero_spread_cause
from ekipl_lab.groups.selection import SELECTION_RULES
from ekipl_lab.groups.weighting import WEIGHTINGS, as_trl
from ekipl_lab.types import POLICY, ActionGroup

#: Probabilities that the policy may give to a teacher's token, as a table of weights shows them.
PROBABILITIES = (0.01, 0.1, 0.5, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule keeps: candidate index -> advantage. ``doc``: the rule in one sentence.

    ``differs``: it keeps others than the group did; ``zero``: the kept rewards are all equal.
    """

    rule: str
    doc: str
    advantages: Mapping[int, float]
    teachers: int
    zero: bool
    differs: bool


@dataclass(frozen=True, slots=True)
class Pull:
    """How strongly a weighting pulls on a teacher's token of advantage 1, by `PROBABILITIES`.

    ``values`` None: it needs the teacher's own token probabilities, which were not recorded.
    """

    weighting: str
    doc: str
    values: tuple[float, ...] | None


def baselines() -> list[str]:
    """What an advantage may be measured from."""
    return list(BASELINES)


def spreads() -> list[str]:
    """What an advantage may be divided by."""
    return list(SPREADS)


def outcomes(group: ActionGroup, baseline: str, scale_rewards: str) -> list[Outcome]:
    """The recorded group, then every rule (with its default parameters) on its candidates."""
    size = sum(action.source == POLICY for action in group.candidates)
    others = [
        build_group(
            group.sample, group.candidates, group.rewards, rule=rule, group_size=size,
            baseline=baseline, scale_rewards=scale_rewards,
        )
        for rule in SELECTION_RULES
    ]  # fmt: skip
    return [_outcome(found, group) for found in (group, *others)]


def _outcome(found: ActionGroup, recorded: ActionGroup) -> Outcome:
    known = SELECTION_RULES.get(found.rule)
    return Outcome(
        found.rule,
        _first_sentence(known.select) if known else "",
        dict(zip(found.kept, found.advantages, strict=True)),
        sum(found.candidates[i].source != POLICY for i in found.kept),
        zero_spread_cause(found) is not None,
        found.kept != recorded.kept,
    )


def pulls(group: ActionGroup, params: Mapping[str, Mapping[str, Any]]) -> list[Pull]:
    """Every weighting on a teacher's token; ``params`` by weighting, else its own defaults.

    At one update per generation, where pi_old is pi. q is the mean of what teachers recorded.
    """
    teachers = [action for action in group.candidates if action.source != POLICY]
    own = [logp for action in teachers for logp in action.logprobs or ()]
    q = sum(own) / len(own) if own else None
    return [
        Pull(
            name,
            _first_sentence(weighting.weigh),
            None if weighting.needs_q and q is None else _pull(name, params.get(name, {}), q),
        )
        for name, weighting in WEIGHTINGS.items()
    ]


def _pull(name: str, params: Mapping[str, Any], q: float | None) -> tuple[float, ...]:
    """d objective / d log pi of a token with advantage 1, for every probability."""
    import torch

    logp_P1 = torch.tensor([[math.log(p)] for p in PROBABILITIES])
    q_P1 = None if q is None else torch.full_like(logp_P1, q)
    ones_P1 = torch.ones_like(logp_P1)
    advantages_P1, old_P1, _ = as_trl(
        WEIGHTINGS[name], logp_P1, logp_P1, q_P1, ones_P1, ones_P1, **params
    )
    found: list[float] = (advantages_P1 * torch.exp(logp_P1 - old_P1)).flatten().tolist()
    return tuple(found)


def _first_sentence(function: Any) -> str:
    return (function.__doc__ or "").strip().split("\n")[0]
