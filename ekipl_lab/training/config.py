"""The whole setting of a run: validated models, one YAML file each, ``a.b=c`` overrides.

    config = load_config(Path("configs/demo_ekipl.yaml"), ["grpo.max_steps=20", "seed=1"])

``grpo`` holds TRL's own GRPOConfig fields (`PRESET` gives the defaults where they differ from
TRL's); everything else is here. GRPO is the same run with ``teachers: []``. Every key is checked:
an unknown one is refused with the nearest name.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.sources.teachers.build import TeacherSpec, teacher_spec
from ekipl_lab.training.gates import is_after_policy
from ekipl_lab.training.method_config import EKIPLSettings

#: Our defaults for ``grpo`` where TRL's differ: the paper's preset (docs/method.md), and a
#: schedule without decay, so that a run's length does not change its beginning.
PRESET: dict[str, Any] = {
    "loss_type": "grpo",
    "num_generations": 8,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "max_completion_length": 64,
    "temperature": 1.0,
    "epsilon": 0.2,
    "num_iterations": 1,
    "beta": 0.0,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant",
    "activation_checkpointing": False,
}

#: Fields of GRPOConfig that a run sets itself, and where to say so instead.
OWNED = {
    "output_dir": "name",
    "run_name": "name",
    "seed": "seed",
    "data_seed": "seed",
    "scale_rewards": "ekipl.scale_rewards",
    "reward_weights": "reward.weights",
    "multi_objective_aggregation": "reward.weights (rewards are one total per action)",
    "report_to": "tracking.experiment",
    "logging_steps": "nothing: every step is logged",
    "logging_strategy": "nothing: every step is logged",
    "log_completions": "nothing: every group is recorded",
    "save_strategy": "tracking.checkpoint_every",
    "save_steps": "tracking.checkpoint_every",
    "save_total_limit": "tracking.keep_checkpoints",
    "save_only_model": "tracking.checkpoint_every",
    "resume_from_checkpoint": "nothing: the same command continues",
    "eval_strategy": "evaluation.every",
    "eval_steps": "evaluation.every",
    "eval_on_start": "evaluation.at_start",
    "do_eval": "evaluation.every",
    "do_train": "nothing",
    "remove_unused_columns": "nothing",
    "disable_tqdm": "nothing: progress comes as events",
    "push_to_hub": "nothing: nothing is uploaded",
    "model_init_kwargs": "policy.dtype",
    "use_liger_kernel": "nothing",
    "trust_remote_code": "nothing: remote code is never run",
    "gradient_checkpointing": "grpo.activation_checkpointing",
    "gradient_checkpointing_kwargs": "grpo.activation_checkpointing_kwargs",
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AdapterSettings(_Model):
    """A LoRA adapter in the language model: rank, alpha (its scale is alpha / rank), dropout.

    ``targets``: last names of the linear layers that get one; none: all of them.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0.0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: tuple[str, ...] = ()


class PolicySettings(_Model):
    """``path``: a checkpoint folder or hub id; or ``build``: a fresh tiny policy of that size.

    ``adapter`` trains LoRA adapters instead of the weights; ``quantize: 4bit`` with it is QLoRA.
    ``freeze_vision`` keeps vision tower and projector as they are (with an adapter always).
    """

    path: str | None = None
    build: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    adapter: AdapterSettings | None = None
    quantize: Literal["none", "4bit"] = "none"
    freeze_vision: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.path is None) == (self.build is None):
            raise ConfigError("Give either policy.path (a checkpoint) or policy.build (a size).")
        if self.quantize != "none" and self.adapter is None:
            raise ConfigError(
                "Weights in 4 bits cannot be trained; give policy.adapter (QLoRA), "
                "or policy.quantize: none."
            )
        return self


class DataSettings(_Model):
    """The training prompts: ``limit`` samples from position ``start`` of a split."""

    benchmark: str = "mini"
    task: str = "counting"
    families: tuple[str, ...] | None = None
    split: str = "train"
    limit: int = Field(default=1000, ge=1)
    start: int = Field(default=0, ge=0)
    seed: int = 0
    image_size: int | None = None


class RewardSettings(_Model):
    """A scorer of `ekipl_lab.rewards` and the weights of its components."""

    scorer: str = "ekipl/auto"
    weights: dict[str, float] | None = None


class PrefetchSettings(_Model):
    """Asking paid teachers about coming prompts (docs/gateway.md).

    ``generations``: how many beyond the present one, 0 for none. ``accept_waste``: also with a gate
    that needs the policy's result first; what was bought for nothing is counted.
    """

    generations: int = Field(default=0, ge=0, le=64)
    accept_waste: bool = False


class EvaluationSet(_Model):
    """One set to measure on; ``task`` and ``families`` default to those of the training data."""

    split: str = "test"
    name: str | None = None
    task: str | None = None
    families: tuple[str, ...] | None = None
    limit: int = Field(default=128, ge=1)
    seed: int = 0

    @property
    def label(self) -> str:
        """What its metrics are called: ``eval/<label>/accuracy_greedy``."""
        return self.name or self.split


class EvaluationSettings(_Model):
    """When and on what the policy is measured.

    Greedy at the start, every ``every`` steps (0: never) and at the end; ``num_samples`` actions
    per item for pass@k at the start and the end (``sampled: ends``), always or never.
    ``max_rows`` bounds the completions generated at once: memory, not results.
    """

    sets: tuple[EvaluationSet, ...] = (EvaluationSet(),)
    every: int = Field(default=50, ge=0)
    at_start: bool = True
    at_end: bool = True
    sampled: Literal["ends", "always", "never"] = "ends"
    num_samples: int = Field(default=32, ge=1)
    ks: tuple[int, ...] = (1, 4, 8, 16)
    temperature: float = Field(default=1.0, gt=0.0)
    max_rows: int = Field(default=256, ge=1)
    seed: int = 0
    check_chains: bool = True


class TrackingSettings(_Model):
    """Where the run is logged and how often it can be continued from."""

    experiment: str = "ekipl"
    checkpoint_every: int = Field(default=50, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    tags: dict[str, str] = Field(default_factory=dict)


class DiagnosticsSettings(_Model):
    """What is looked at besides every step's metrics, every so many steps; 0: never.

    ``gradient_norms_every``: one backward pass per action source; ``doctor_every``: why groups
    taught nothing (docs/group_doctor.md).
    """

    gradient_norms_every: int = Field(default=50, ge=0)
    doctor_every: int = Field(default=50, ge=0)


class HardwareSettings(_Model):
    """What a run is planned for; only ``--dry-run`` reads it.

    ``gpu_memory_gib`` of each of ``gpus`` (None: what this machine has); how weights are shared
    among them; what a prompt holds where the data are not at hand: ``text_tokens``, ``images`` of
    ``image_side`` pixels square (None: data.image_size, else 56 for mini and 448 for others).
    """

    gpu_memory_gib: float | None = Field(default=None, gt=0.0)
    gpus: int = Field(default=1, ge=1)
    sharding: Literal["none", "fsdp2", "zero3"] = "none"
    text_tokens: int = Field(default=256, ge=1)
    images: int = Field(default=1, ge=0)
    image_side: int | None = Field(default=None, ge=28)


class RunConfig(_Model):
    """One training run. ``name`` names its folder and its MLflow run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = 0
    policy: PolicySettings
    data: DataSettings = DataSettings()
    reward: RewardSettings = RewardSettings()
    teachers: tuple[TeacherSpec, ...] = ()
    ekipl: EKIPLSettings = EKIPLSettings()
    prefetch: PrefetchSettings = PrefetchSettings()
    grpo: dict[str, Any] = Field(default_factory=dict)
    evaluation: EvaluationSettings = EvaluationSettings()
    tracking: TrackingSettings = TrackingSettings()
    diagnostics: DiagnosticsSettings = DiagnosticsSettings()
    hardware: HardwareSettings = HardwareSettings()

    @field_validator("teachers", mode="before")
    @classmethod
    def _named_errors(cls, teachers: Any) -> Any:
        for raw in teachers if isinstance(teachers, list | tuple) else ():
            if isinstance(raw, Mapping):
                teacher_spec(raw)
        return teachers

    @field_validator("grpo", mode="before")
    @classmethod
    def _known_keys(cls, grpo: Any) -> Any:
        if not isinstance(grpo, Mapping):
            raise ConfigError("grpo must hold settings (key: value) of TRL's GRPOConfig.")
        return {str(key): _grpo_value(str(key), value) for key, value in grpo.items()}

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({spec.id for spec in self.teachers}) < len(self.teachers):
            raise ConfigError("Two teachers have the same id; give each its own.")
        labels = [chosen.label for chosen in self.evaluation.sets]
        if len(set(labels)) < len(labels):
            raise ConfigError(f"Two evaluation sets are called alike: {labels}; give them names.")
        return self

    @model_validator(mode="after")
    def _no_hidden_waste(self) -> Self:
        ahead = self.prefetch
        if ahead.generations and is_after_policy(self.ekipl.gates) and not ahead.accept_waste:
            raise ConfigError(
                "prefetch.generations with a gate on_failure buys actions that may not be used; "
                "leave it at 0, or set prefetch.accept_waste to have the waste counted."
            )
        return self

    @property
    def grpo_settings(self) -> dict[str, Any]:
        """`PRESET`, overridden by ``grpo``."""
        return PRESET | self.grpo


@functools.cache
def grpo_fields() -> dict[str, Any]:
    """Name -> type of all fields of TRL's GRPOConfig (imports TRL)."""
    import dataclasses
    import typing

    from trl import GRPOConfig

    hints = typing.get_type_hints(GRPOConfig)
    return {field.name: hints[field.name] for field in dataclasses.fields(GRPOConfig) if field.init}


def _grpo_value(key: str, value: Any) -> Any:
    """The value as GRPOConfig has it; ConfigError for an unknown, owned or ill-typed one."""
    if key in OWNED:
        raise ConfigError(f"grpo.{key} is not set there; use {OWNED[key]}.")
    if key not in grpo_fields():
        near = difflib.get_close_matches(key, grpo_fields(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "see its documentation."
        raise ConfigError(f"Unknown key in grpo {key!r} (a field of TRL's GRPOConfig); {hint}")
    try:
        return TypeAdapter(grpo_fields()[key]).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ConfigError(f"grpo.{key} is {value!r}: {message}.") from error


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file and apply ``a.b=c`` overrides (values are YAML; list items by number).

    The name defaults to the file's. Raises ConfigError for a missing or unreadable file, an
    unknown key (with the nearest one), or a value that does not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"Config file {path} does not exist; configs/ lists the shipped ones.")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings (key: value), as the files in configs/ do.")
    for override in overrides:
        _override(raw, override)
    return parse_config({"name": path.stem, **raw})


def parse_config(raw: Mapping[str, Any]) -> RunConfig:
    """A RunConfig from plain values; ConfigError that names the first wrong key."""
    try:
        return RunConfig.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors()[0]
        place = [part for part in first["loc"] if part not in ("oracle", "random", "replay")]
        if first["type"] == "extra_forbidden":
            where = ".".join(str(part) for part in place[:-1])
            kind = f"key in {where}" if where else "config key"
            raise unknown_name(kind, str(place[-1]), _fields_at(place[:-1])) from error
        key = ".".join(str(part) for part in place) or "config"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{key}: {message}.") from error


def _fields_at(place: Sequence[int | str]) -> list[str]:
    model: Any = RunConfig
    for part in place:
        if isinstance(part, int):
            model = EvaluationSet
            continue
        model = model.model_fields[part].annotation
        model = next((a for a in get_args(model) if hasattr(a, "model_fields")), model)
    return list(getattr(model, "model_fields", ()))


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"Override {override!r} must have the form key=value, such as seed=1.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"The value of override {override!r} is not valid YAML.") from error
    target: Any = raw
    for part in parts[:-1]:
        target = _child(target, part, override)
    if isinstance(target, list):
        target[_index(target, parts[-1], override)] = value
    elif isinstance(target, dict):
        target[parts[-1]] = value
    else:
        raise ConfigError(f"Override {override!r}: {parts[-2]!r} holds one value, not settings.")


def _child(target: Any, part: str, override: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, part, override)]
    if not isinstance(target, dict):
        raise ConfigError(f"Override {override!r}: what is before {part!r} has no settings.")
    if target.get(part) is None:
        target[part] = {}
    return target[part]


def _index(target: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(target):
        raise ConfigError(
            f"Override {override!r}: {part!r} must be a number from 0 to {len(target) - 1}."
        )
    return int(part)
