"""The settings under ``ekipl:``, what the method does with actions; and when a generation happens.

Formulas and sources are in docs/method.md; which combinations make no sense, and why, in
`training.config.combinations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidatorFunctionWrapHandler, field_validator, model_validator

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.groups.advantages import check_names
from ekipl_lab.groups.distill import Distillation
from ekipl_lab.groups.doctor.causes import CAUSES
from ekipl_lab.groups.gates import (
    BUDGETS,
    TeacherGates,
    check_table,
    gate_of,
    read_gates,
    spell_off,
)
from ekipl_lab.groups.prefix import TeacherPrefix
from ekipl_lab.groups.schedules import check_schedules, parameters_at, rounded
from ekipl_lab.groups.selection import get_rule
from ekipl_lab.groups.signs import SignWeights
from ekipl_lab.groups.weighting import get_weighting
from ekipl_lab.types import ActionSource
from ekipl_lab.validation import Section

#: Ways to mix with SFT; see `ekipl_lab.training.loss.mixing`.
MIXINGS = ("none", "chord_mu", "chord_phi", "failed_groups")


class SFTMixing(Section):
    """An SFT term on teacher rows (`ekipl_lab.training.loss.mixing`).

    ``mu`` the term's weight; ``min_successes`` below which a group counts as failed;
    ``success_only`` imitates no action that failed itself.
    """

    type: str = "none"
    mu: float = 0.1
    min_successes: int = Field(default=1, ge=1)
    success_only: bool = True
    reinforce: bool = False

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.type not in MIXINGS:
            raise unknown_name("ekipl.sft.type", self.type, MIXINGS)
        if not 0.0 <= self.mu <= 1.0:
            raise ConfigError(f"ekipl.sft.mu is {self.mu}; it must lie between 0 and 1.")
        if not self.on:
            self.refuse_idle("ekipl.sft", f"set ekipl.sft.type ({', '.join(MIXINGS[1:])})")
        elif self.chord and self.min_successes != 1:
            raise ConfigError(
                f"ekipl.sft.min_successes is read by failed_groups alone, and the type is "
                f"{self.type}; leave it out."
            )
        return self

    @property
    def on(self) -> bool:
        """Whether anything is imitated."""
        return self.type != "none"

    @property
    def chord(self) -> bool:
        """Whether mu also takes from the rest of the loss."""
        return self.type.startswith("chord")


class Refill(Section):
    """Dynamic sampling: rows of groups without spread go to other prompts (`training.refill`).

    At most ``rounds`` times a generation, 0 for never; ``causes`` (docs/group_doctor.md) of the
    groups that give up their rows.
    """

    rounds: int = Field(default=0, ge=0, le=100)
    causes: tuple[str, ...] = ("all_right", "truncated", "unparseable", "format_only", "all_wrong")

    @model_validator(mode="after")
    def _known(self) -> Self:
        for cause in self.causes:
            if cause not in CAUSES:
                raise unknown_name("cause in ekipl.refill.causes", cause, CAUSES)
        if not self.causes:
            raise ConfigError("ekipl.refill.causes is empty; name one, or set rounds: 0.")
        if not self.rounds:
            self.refuse_idle("ekipl.refill", "set ekipl.refill.rounds above 0")
        return self


class EKIPLOptions(Section):
    """The method: which actions are asked for and kept, and what they weigh (docs/method.md).

    ``teacher_gates`` is a table, the JSON file of one, or, from Python, a function
    (`gates.GateOf`); ``teacher_gate_successes`` of the policy close an ``if_unsolved`` gate.
    """

    selection: str = "top_g"
    params: dict[str, Any] = Field(default_factory=dict)
    weighting: str = "policy_ratio"
    weighting_params: dict[str, Any] = Field(default_factory=dict)
    baseline: str = "kept"
    scale_rewards: str = "group"
    signs: SignWeights = SignWeights()
    prefix: TeacherPrefix = TeacherPrefix()
    distill: Distillation = Distillation()
    schedules: dict[str, tuple[tuple[float, float], ...]] = Field(default_factory=dict)
    teacher_gates: dict[str, dict[str, str]] = Field(default_factory=dict)
    teacher_gate_successes: int = Field(default=1, ge=1)
    run_budget: dict[str, float] = Field(default_factory=dict)
    sft: SFTMixing = SFTMixing()
    refill: Refill = Refill()

    @field_validator("teacher_gates", mode="wrap")
    @classmethod
    def _gates(cls, gates: Any, as_table: ValidatorFunctionWrapHandler) -> Any:
        """A path stands for the table in that file, as `ekipl teach report` writes it.

        The table becomes part of the config, so that a resumed run notices another one.
        """
        if callable(gates):
            return gates
        table = as_table(spell_off(read_gates(Path(gates)) if isinstance(gates, str) else gates))
        check_table(table)
        return table

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        check_schedules(self.schedules)
        for step in self.scheduled_steps():
            get_rule(self.selection, self.params_at(step))
            changed = parameters_at(self.schedules, "weighting_params.", step)
            get_weighting(self.weighting, self.weighting_params | changed)
        if self.scale_rewards == "batch":
            raise ConfigError(
                "ekipl.scale_rewards 'batch' is not offered: a group's advantages would depend "
                "on the other groups of its step; choose group, pool or none."
            )
        check_names(self.baseline, self.scale_rewards)
        if self.teacher_gate_successes != 1 and not self._has_if_unsolved():
            raise ConfigError(
                "ekipl.teacher_gate_successes closes gates of if_unsolved, and ekipl.teacher_gates "
                "has none; add one, or leave it out."
            )
        for axis, most in self.run_budget.items():
            if axis not in BUDGETS:
                raise unknown_name("axis of ekipl.run_budget", axis, BUDGETS)
            if most < 0:
                raise ConfigError(f"ekipl.run_budget.{axis} is {most:g}; it cannot be below 0.")
        return self

    def _has_if_unsolved(self) -> bool:
        gates = self.teacher_gates
        return callable(gates) or any("if_unsolved" in own.values() for own in gates.values())

    def scheduled_steps(self) -> list[float]:
        """The first step and those where a schedule bends: values between them lie between."""
        return sorted({0.0, *(step for points in self.schedules.values() for step, _ in points)})

    def params_at(self, step: float) -> dict[str, Any]:
        """The selection rule's parameters at an optimiser step."""
        changed = parameters_at(self.schedules, "params.", step)
        return {**self.params, **{name: rounded(value) for name, value in changed.items()}}

    def gates(self, seed: int) -> TeacherGates:
        """What decides which teacher to ask about which prompt; ``seed`` is the run's."""
        gate = self.teacher_gates if callable(self.teacher_gates) else gate_of(self.teacher_gates)
        return TeacherGates(
            gate, self.schedules, self.run_budget, self.teacher_gate_successes, seed
        )


@dataclass(frozen=True, slots=True)
class Teacher:
    """A source of external actions, asked for ``actions`` (k) per prompt."""

    source: ActionSource
    actions: int = 1


@dataclass(frozen=True, slots=True)
class StepContext:
    """When a generation happens: optimiser steps done, passes over the data, costs so far.

    A teacher asked again in the next pass (``draw``) gives fresh actions.
    """

    step: int = 0
    draw: int = 0
    spent: Mapping[str, float] = field(default_factory=dict)
