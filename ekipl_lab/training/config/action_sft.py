"""Settings of supervised steps on teacher actions, or on what the data bring (``sft:``)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from ekipl_lab.errors import ConfigError
from ekipl_lab.validation import Count, Section


class ActionSFT(Section):
    """What is learned, and how.

    ``learn``: ``actions`` of the teachers, ``chains`` of the data, or ``answers`` alone.
    ``actions``: asked for, before any is left out; unset: as many as the run asks for, or all that
    the data bring. ``epochs`` passes over those that are learned, in steps of ``batch_size``; the
    rate warms up over ``warmup`` steps and falls linearly to ``final`` of itself.

    ``trainer``: ``own``, the loop of the tiny policies (``matrix_lr`` for Muon, ``rest_lr`` for
    AdamW), ``trl``, TRL's SFTTrainer (``learning_rate``; the optimiser, the rows that a device
    holds at once and its precision are those of ``grpo``), or ``auto``: own where that can be.
    ``weighting`` ``solve_rate`` weighs as `solve_rate` says, over ``rollouts`` of the policy a
    prompt. ``validation`` > 0 holds out that share of the prompts; the loss on them is measured
    every ``validate_every`` steps, training ends after ``patience`` measurements without a new
    lowest, and the policy of the lowest is kept. ``average`` < 1 keeps that share of what was
    learned: the weights are averaged with those of the start (`policies.average`).
    """

    learn: Literal["actions", "chains", "answers"] = "actions"
    trainer: Literal["auto", "own", "trl"] = "auto"
    actions: Count | None = None
    success_only: bool = True
    epochs: float = Field(default=1.0, gt=0, le=1000)
    batch_size: Count = 64
    learning_rate: float = Field(default=1e-5, ge=0)
    matrix_lr: float = Field(default=0.006, ge=0)
    rest_lr: float = Field(default=0.0015, ge=0)
    warmup: int = Field(default=10, ge=0)
    final: float = Field(default=0.03, ge=0, le=1)
    weighting: Literal["none", "solve_rate"] = "none"
    rollouts: int = Field(default=8, ge=1, le=1024)
    validation: float = Field(default=0.0, ge=0, lt=1)
    validate_every: Count = 10
    patience: Count = 3
    average: float = Field(default=1.0, gt=0, le=1)


def check_none_idle(settings: ActionSFT, given: Collection[str]) -> None:
    """ConfigError for a setting that somebody gave and that changes nothing beside the others."""
    of_validation = "sft.validation is 0; set it above 0"
    idle = {
        "rollouts": settings.weighting == "none" and "sft.weighting is none; set it to solve_rate",
        "validate_every": not settings.validation and of_validation,
        "patience": not settings.validation and of_validation,
    }
    for name, why in idle.items():
        if why and name in given:
            raise ConfigError(f"sft.{name} changes nothing where {why}, or leave it out.")
