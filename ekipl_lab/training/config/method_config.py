"""The settings under ``ekipl:``: what the method does with the actions of policy and teachers.

Formulas and sources are in docs/method.md; which combinations make no sense, and why, in
`combinations`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.groups.advantages import check_names
from ekipl_lab.groups.gates import BUDGETS, GATES, check_table
from ekipl_lab.groups.options import EKIPLOptions, SFTMixing
from ekipl_lab.groups.schedules import check_schedules
from ekipl_lab.groups.selection import get_rule
from ekipl_lab.groups.weighting import get_weighting


class SFTSettings(BaseModel):
    """An SFT term on teacher rows (`ekipl_lab.training.loss.mixing`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = "none"
    mu: float = 0.1
    min_successes: int = Field(default=1, ge=1)
    success_only: bool = True
    reinforce: bool = False

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.mixing()
        return self

    def mixing(self) -> SFTMixing:
        """The same as the trainer takes it."""
        return SFTMixing(**self.model_dump())


class EKIPLSettings(BaseModel):
    """The method: which actions are asked for and kept, and what they weigh (docs/method.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    selection: str = "top_g"
    params: dict[str, Any] = Field(default_factory=dict)
    weighting: str = "policy_ratio"
    weighting_params: dict[str, Any] = Field(default_factory=dict)
    baseline: str = "kept"
    scale_rewards: str = "group"
    schedules: dict[str, tuple[tuple[float, float], ...]] = Field(default_factory=dict)
    teacher_gates: dict[str, dict[str, str]] = Field(default_factory=dict)
    teacher_gate_successes: int = Field(default=1, ge=1)
    run_budget: dict[str, float] = Field(default_factory=dict)
    sft: SFTSettings = SFTSettings()

    @field_validator("teacher_gates", mode="before")
    @classmethod
    def _from_file(cls, gates: Any) -> Any:
        """A path stands for the table in that file, as `ekipl teach report` writes it.

        The table becomes part of the config, so that a resumed run notices another one.
        """
        return _spelt(read_gates(Path(gates)) if isinstance(gates, str) else gates)

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        check_schedules(self.schedules)
        get_rule(self.selection, self.params | _names(self.schedules, "params."))
        get_weighting(
            self.weighting, self.weighting_params | _names(self.schedules, "weighting_params.")
        )
        if self.scale_rewards == "batch":
            raise ConfigError(
                "ekipl.scale_rewards 'batch' is not offered: a group's advantages would depend "
                "on the other groups of its step; choose group, pool or none."
            )
        check_names(self.baseline, self.scale_rewards)
        check_table(self.teacher_gates)
        for axis, most in self.run_budget.items():
            if axis not in BUDGETS:
                raise unknown_name("axis of ekipl.run_budget", axis, BUDGETS)
            if most < 0:
                raise ConfigError(f"ekipl.run_budget.{axis} is {most:g}; it cannot be below 0.")
        return self

    def options(self, seed: int = 0) -> EKIPLOptions:
        """The same as the trainer takes it; ``seed`` is the run's."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return EKIPLOptions(**{**values, "sft": self.sft.mixing(), "seed": seed})


def read_gates(path: Path) -> dict[str, dict[str, str]]:
    """The gates in a JSON file: teacher -> task, task/family or * -> gate."""
    if not path.is_file():
        raise ConfigError(
            f"ekipl.teacher_gates: {path} does not exist; `ekipl teach report` makes it."
        )
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"ekipl.teacher_gates: {path} is not valid JSON: {error}.") from error
    if not isinstance(table, Mapping) or not all(isinstance(v, Mapping) for v in table.values()):
        raise ConfigError(f"ekipl.teacher_gates: {path} must hold teacher -> {{task: gate}}.")
    return {teacher: dict(entries) for teacher, entries in table.items()}


def _spelt(table: Any) -> Any:
    """The table with ``off`` where YAML read the bare word as false; ConfigError for true."""
    if not isinstance(table, Mapping):
        return table
    spelt = dict(table)
    for teacher, entries in table.items():
        if not isinstance(entries, Mapping):
            continue
        for where, gate in entries.items():
            if gate is True:
                raise ConfigError(
                    f"ekipl.teacher_gates.{teacher}.{where} is true (YAML reads on and yes so); "
                    f"a gate is one of {', '.join(GATES)}."
                )
        spelt[teacher] = {w: "off" if gate is False else gate for w, gate in entries.items()}
    return spelt


def _names(schedules: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): None for name in schedules if name.startswith(prefix)}
