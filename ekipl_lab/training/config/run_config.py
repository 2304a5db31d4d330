"""The whole setting of a run: validated models, one YAML file each, ``a.b=c`` overrides.

    config = load_config(Path("configs/demo_ekipl.yaml"), ["grpo.max_steps=20", "seed=1"])

Its sections: `sections`, `groups.options` (``ekipl``), `grpo_config` (``grpo``: TRL's own fields;
`PRESET` gives the defaults where they differ from TRL's). GRPO is the same run with
``teachers: []``. Every key is checked: an unknown one is refused with the nearest name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.groups.gates import needs_policy_result
from ekipl_lab.groups.options import EKIPLOptions
from ekipl_lab.teachers.build import TeacherSpec
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.grpo_config import PRESET, grpo_value
from ekipl_lab.training.config.overrides import apply_override
from ekipl_lab.training.config.sections import (
    DataSettings,
    DiagnosticsSettings,
    EvaluationSet,
    EvaluationSettings,
    HardwareSettings,
    PolicySettings,
    PrefetchSettings,
    RewardSettings,
    TrackingSettings,
    TrainingSettings,
)
from ekipl_lab.validation import Section, Seed, complaint, load_yaml


class RunConfig(Section):
    """One training run. ``name`` names its folder and its MLflow run.

    ``recipe``: the preset (docs/studies.md) whose stages `ekipl train` runs, each a run of its own.
    Unset: the trainer alone, or `studies.recipe.DEFAULT` where there are teachers and ``ekipl`` is
    left out. ``sft``: settings of the supervised stages of a recipe, and of `ekipl sft`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=200)
    seed: Seed = 0
    policy: PolicySettings
    data: DataSettings = DataSettings()
    reward: RewardSettings = RewardSettings()
    teachers: tuple[TeacherSpec, ...] = ()
    ekipl: EKIPLOptions = EKIPLOptions()
    prefetch: PrefetchSettings = PrefetchSettings()
    grpo: dict[str, Any] = Field(default_factory=dict)
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    tracking: TrackingSettings = TrackingSettings()
    diagnostics: DiagnosticsSettings = DiagnosticsSettings()
    hardware: HardwareSettings = HardwareSettings()
    recipe: str | None = None
    sft: ActionSFT | None = None

    @field_validator("grpo", mode="before")
    @classmethod
    def _known_keys(cls, grpo: Any) -> Any:
        if not isinstance(grpo, Mapping):
            raise ConfigError("grpo must hold settings (key: value) of TRL's GRPOConfig.")
        return {str(key): grpo_value(str(key), value) for key, value in grpo.items()}

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({spec.id for spec in self.teachers}) < len(self.teachers):
            raise ConfigError("Two teachers have the same id; give each its own.")
        labels = [chosen.label for chosen in self.evaluation.sets]
        if len(set(labels)) < len(labels):
            raise ConfigError(f"Two evaluation sets have the same name: {labels}; give them names.")
        return self

    @model_validator(mode="after")
    def _no_hidden_waste(self) -> Self:
        ahead = self.prefetch
        if (
            ahead.generations
            and needs_policy_result(self.ekipl.teacher_gates)
            and not ahead.accept_waste
        ):
            raise ConfigError(
                "prefetch.generations with a gate if_unsolved buys actions that may not be used; "
                "leave it at 0, or set prefetch.accept_waste to have the waste counted."
            )
        return self

    @property
    def grpo_settings(self) -> dict[str, Any]:
        """`PRESET`, overridden by ``grpo``."""
        return PRESET | self.grpo


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file and apply ``a.b=c`` overrides (values are YAML; list items by number).

    The name defaults to the file's. Raises ConfigError for a missing or unreadable file, an
    unknown key (with the nearest one), or a value that does not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"Config file {path} does not exist; configs/ lists the shipped ones.")
    raw = load_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings (key: value), as the files in configs/ do.")
    for override in overrides:
        apply_override(raw, override)
    return parse_config({"name": path.stem, **raw})


def parse_config(raw: Mapping[str, Any]) -> RunConfig:
    """A RunConfig from plain values; ConfigError that names the first wrong key."""
    try:
        return RunConfig.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors()[0]
        place = list(first["loc"])
        if first["type"] == "extra_forbidden":
            where = ".".join(str(part) for part in place[:-1])
            kind = f"key in {where}" if where else "config key"
            raise unknown_name(kind, str(place[-1]), _fields_at(place[:-1])) from error
        key = ".".join(str(part) for part in place) or "config"
        raise ConfigError(f"{complaint(first, key)}.") from error


def _fields_at(place: Sequence[int | str]) -> list[str]:
    model: Any = RunConfig
    for part in place:
        if isinstance(part, int):
            model = EvaluationSet
            continue
        model = model.model_fields[part].annotation
        model = next((a for a in get_args(model) if hasattr(a, "model_fields")), model)
    return list(getattr(model, "model_fields", ()))
