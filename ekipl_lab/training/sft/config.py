"""What a warm start is made of: a list of stages, each with its own mixture and rates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.files import check_folder
from ekipl_lab.validation import Count, Section, Seed, complaint, load_yaml


class Stage(Section):
    """One stage.

    ``kind``: ``vision`` trains the vision tower alone, with a throw-away linear head that names the
    thing in each patch; ``text`` trains everything on completions. ``matrix_lr`` is Muon's rate for
    two-dimensional weights, ``rest_lr`` AdamW's for embeddings, biases, norms and the patch
    convolution. The rate warms up over ``warmup`` steps and falls linearly to ``final`` of itself.
    ``patch_loss`` keeps the per-patch loss beside the completions; ``freeze_vision`` leaves the
    vision tower alone.
    ``token_weights`` raises the loss weight of single tokens; ``focus`` that of tokens which the
    policy does not yet predict (see `model.forward`). ``length_parts`` > 1 runs a batch in
    that many parts of like length, which saves padding (and weighs their patch losses by their
    tokens). ``mixture``: family or
    ``family:style`` -> share.
    """

    name: str
    kind: Literal["vision", "text"] = "text"
    steps: Count
    batch_size: Count = 64
    matrix_lr: float = Field(default=0.01, ge=0)
    rest_lr: float = Field(default=0.002, ge=0)
    warmup: int = Field(default=50, ge=0)
    final: float = Field(default=0.03, ge=0, le=1)
    patch_loss: float = Field(default=0.0, ge=0)
    freeze_vision: bool = False
    focus: float = Field(default=0.0, ge=0)
    length_parts: int = Field(default=1, gt=0)
    token_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    mixture: dict[str, Annotated[float, Field(ge=0)]]

    @model_validator(mode="after")
    def _parts_have_rows(self) -> Self:
        if self.length_parts > self.batch_size:
            raise ConfigError(
                f"stage {self.name!r} runs batches of {self.batch_size} in {self.length_parts} "
                "parts; lower length_parts."
            )
        return self


class SFTConfig(Section):
    """A warm start: which policy, from which seed, through which stages, into which folder.

    ``work_dir`` holds the resumable state; ``output`` gets the finished policy. ``backdrops`` is
    the share of counting pictures that get a random background, so that sight does not hang on
    the four backgrounds of the train split.
    """

    name: str
    task: str
    seed: Seed = 0
    size: str = "demo"
    image_size: Count = 56
    patch_size: Count = 14
    backdrops: float = Field(default=0.0, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    threads: int = Field(default=1, ge=1, le=1024)
    save_every: Count = 500
    work_dir: Path
    output: Path
    init: Path | None = None
    stages: list[Stage] = Field(min_length=1)

    @field_validator("work_dir", "output")
    @classmethod
    def _a_folder(cls, path: Path) -> Path:
        return check_folder(path)


def load_sft_config(path: str | Path) -> SFTConfig:
    """Read a YAML file. Raises ConfigError naming the file, the wrong key and the nearest."""
    return sft_config_from(load_yaml(Path(path)), str(path))


def sft_config_from(data: Any, origin: str) -> SFTConfig:
    """Validate plain data; ConfigError names ``origin`` and the first wrong field."""
    if not isinstance(data, dict):
        raise ConfigError(f"{origin!r} holds no mapping of settings; see configs/sft_*.yaml.")
    try:
        return SFTConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            model = Stage if first["loc"][0] == "stages" else SFTConfig
            raise unknown_name(
                f"key in {origin}", str(first["loc"][-1]), model.model_fields
            ) from error
        raise ConfigError(f"{origin}: {complaint(first, place)}.") from error
