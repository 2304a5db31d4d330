"""The method's own settings as plain values, and what a moment of training is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.groups.gates import GateOf, GateTable, TeacherGates, gate_of
from ekipl_lab.groups.schedules import Schedules, parameters_at, rounded
from ekipl_lab.types import ActionSource

#: Ways to mix with SFT; see `mixing`.
MIXINGS = ("none", "chord_mu", "chord_phi", "failed_groups")


@dataclass(frozen=True, slots=True)
class SFTMixing:
    """``mu`` the term's weight; ``min_successes`` below which a group counts as failed;
    ``success_only`` imitates no action that failed itself; see `mixing`."""

    type: str = "none"
    mu: float = 0.1
    min_successes: int = 1
    success_only: bool = True
    reinforce: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown types."""
        if self.type not in MIXINGS:
            raise unknown_name("ekipl.sft.type", self.type, MIXINGS)
        if not 0.0 <= self.mu <= 1.0:
            raise ConfigError(f"ekipl.sft.mu is {self.mu}; it must lie between 0 and 1.")

    @property
    def on(self) -> bool:
        """Whether anything is imitated."""
        return self.type != "none"

    @property
    def chord(self) -> bool:
        """Whether mu also takes from the rest of the loss."""
        return self.type.startswith("chord")


@dataclass(frozen=True, slots=True)
class Teacher:
    """A source of external actions, asked for ``actions`` (k) per prompt."""

    source: ActionSource
    actions: int = 1


@dataclass(frozen=True, slots=True)
class EKIPLOptions:
    """The method's own settings; see `selection`, `weighting`, `advantages`, `schedules`, `gates`.

    ``teacher_gates`` is a table or a function; ``teacher_gate_successes`` of the policy close an
    ``if_unsolved`` gate.
    """

    selection: str = "top_g"
    params: Mapping[str, Any] = field(default_factory=dict)
    weighting: str = "policy_ratio"
    weighting_params: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = "kept"
    scale_rewards: str = "group"
    schedules: Schedules = field(default_factory=dict)
    teacher_gates: GateTable | GateOf = field(default_factory=dict)
    teacher_gate_successes: int = 1
    run_budget: Mapping[str, float] = field(default_factory=dict)
    sft: SFTMixing = field(default_factory=SFTMixing)
    seed: int = 0

    def params_at(self, step: int) -> dict[str, Any]:
        """The selection rule's parameters at an optimiser step."""
        changed = parameters_at(self.schedules, "params.", step)
        return {**self.params, **{name: rounded(value) for name, value in changed.items()}}

    def gates(self) -> TeacherGates:
        """What decides whom to ask."""
        gate = self.teacher_gates if callable(self.teacher_gates) else gate_of(self.teacher_gates)
        return TeacherGates(
            gate, self.schedules, self.run_budget, self.teacher_gate_successes, self.seed
        )


@dataclass(frozen=True, slots=True)
class StepContext:
    """When a generation happens: optimiser steps done, passes over the data, costs so far.

    A teacher asked again in the next pass (``draw``) gives fresh actions.
    """

    step: int = 0
    draw: int = 0
    spent: Mapping[str, float] = field(default_factory=dict)
