"""The sections of a run's config that are plain settings: policy, data, evaluation and the like.

Teachers have theirs in `ekipl_lab.teachers`, the method in `groups.options`, TRL's in
`grpo_config`.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ekipl_lab.benchmarks.image_files import MAX_PIXELS
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.training.config.targets import TARGETS
from ekipl_lab.validation import LEAST_TEMPERATURE, MOST_TEMPERATURE, Count, Section, Seed

#: Names of tags that MLflow takes, and the characters of a value that it keeps.
_TAG = re.compile(r"(?!\.)[\w .:-][\w .:/-]{0,249}")
_LONGEST_TAG = 8000


class AdapterSettings(Section):
    """A LoRA adapter in the language model: rank, alpha (its scale is alpha / rank), dropout.

    ``targets``: last names of the linear layers that get one; none: all of them.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0.0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: tuple[str, ...] = ()


class PolicySettings(Section):
    """``path``: a checkpoint folder or hub id; or ``build``: a fresh tiny policy of that size.

    ``adapter`` trains LoRA adapters instead of the weights; ``quantize: 4bit`` with it is QLoRA.
    ``freeze`` keeps parts as they are: ``vision`` (tower), ``projector``, ``language`` (with output
    layer); ``freeze_vision`` is the first two, and with an adapter all but the adapter is frozen.
    ``attn_implementation`` is transformers' (unset: its own choice for the architecture).
    Images with more than ``max_pixels`` are shrunk to them (unset: 480,000 pixels for data in
    files, or data.image_size), those with fewer than ``min_pixels`` enlarged (unset: none).
    """

    path: str | None = None
    build: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    adapter: AdapterSettings | None = None
    quantize: Literal["none", "4bit"] = "none"
    freeze_vision: bool = False
    freeze: tuple[Literal["vision", "projector", "language"], ...] = ()
    attn_implementation: (
        Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None
    ) = None
    min_pixels: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.path is None) == (self.build is None):
            raise ConfigError("Give either policy.path (a checkpoint) or policy.build (a size).")
        if (self.min_pixels or 1) > (self.max_pixels or MAX_PIXELS):
            raise ConfigError("policy.min_pixels is above policy.max_pixels; lower it.")
        if self.quantize != "none" and self.adapter is None:
            raise ConfigError(
                "Weights in 4 bits cannot be trained; give policy.adapter (QLoRA), "
                "or policy.quantize: none."
            )
        if self.adapter is not None and "language" in self.freeze:
            raise ConfigError(
                "policy.freeze names the language model, in which policy.adapter trains; leave "
                "one of them out."
            )
        if set(self.frozen) == {"vision", "projector", "language"}:
            raise ConfigError("policy.freeze names every part, so nothing is trained; leave one.")
        return self

    @property
    def frozen(self) -> tuple[str, ...]:
        """The parts that are kept as they are, ``freeze_vision`` spelled out."""
        both = ("vision", "projector") if self.freeze_vision else ()
        return tuple(dict.fromkeys((*both, *self.freeze)))


class DataSettings(Section):
    """The training prompts: ``limit`` samples from position ``start`` of a split.

    ``instructed``: tell a stock policy the conventions of the built-in benchmark and the form of
    its answers, in training and in the run's evaluations; the tiny policies know them.
    ``on_bad_record: skip`` leaves out records that are broken, cannot be scored or whose picture
    cannot be read, and says which; ``stop`` refuses the data at the first.
    """

    benchmark: str = "mini"
    task: str = "counting"
    families: tuple[str, ...] | None = None
    split: str = "train"
    limit: Count = 1000
    start: int = Field(default=0, ge=0, le=10**9)
    seed: Seed = 0
    image_size: int | None = Field(default=None, ge=1, le=10**5)
    instructed: bool = False
    on_bad_record: Literal["stop", "skip"] = "stop"


class ExtraReward(Section):
    """One more component of the reward: what ``scorer`` calls accuracy, times ``weight``."""

    scorer: str
    weight: float


class OverlongPenalty(Section):
    """DAPO's soft penalty: from 0 down to -``weight`` over the last ``buffer`` tokens allowed."""

    buffer: Count
    weight: float = Field(default=1.0, ge=0.0)


class RewardSettings(Section):
    """A scorer of `ekipl_lab.rewards`, the weights of its components, and what is added to them.

    ``extra``: more components, by names of your own; ``overlong``: a penalty for long actions.
    Success, and with it accuracy and pass@k, stays the scorer's.
    """

    scorer: str = "ekipl/auto"
    weights: dict[str, float] | None = None
    extra: dict[str, ExtraReward] = Field(default_factory=dict)
    overlong: OverlongPenalty | None = None

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        counts = self.weights is None or any(self.weights.values())
        if not counts and not any(one.weight for one in self.extra.values()):
            raise ConfigError("reward.weights are all 0, so that nothing is learned; raise one.")
        return self


class PrefetchSettings(Section):
    """When paid teachers are asked (docs/gateway.md).

    ``while_generating``: beside the policy's generation, where no gate needs its result first.
    ``generations``: about the prompts of so many coming generations as well, 0 for none.
    ``accept_waste``: those also with a gate that needs the policy's result first; what was bought
    for nothing is counted.
    """

    while_generating: bool = True
    generations: int = Field(default=0, ge=0, le=64)
    accept_waste: bool = False


class EvaluationSet(Section):
    """One set to measure on; ``task`` and ``families`` default to those of the training data."""

    split: str = "test"
    name: str | None = Field(default=None, pattern=r"^\w[\w .-]*$", max_length=100)
    task: str | None = None
    families: tuple[str, ...] | None = None
    limit: Count = 128
    seed: Seed = 0

    @property
    def label(self) -> str:
        """What its metrics are called: ``eval/<label>/accuracy_greedy``."""
        return self.name or self.split


class EvaluationSettings(Section):
    """When and on what the policy is measured.

    Greedy at the start, every ``every`` steps (0: never) and at the end; ``num_samples`` actions
    per item for pass@k at the start and the end (``sampled: ends``), always or never.
    ``max_rows`` bounds the completions generated at once: memory, not results. ``engine: vllm``
    measures with the engine that generates (`grpo.use_vllm`), whose draws no seed repeats.
    """

    sets: tuple[EvaluationSet, ...] = (EvaluationSet(),)
    every: int = Field(default=50, ge=0)
    at_start: bool = True
    at_end: bool = True
    sampled: Literal["ends", "always", "never"] = "ends"
    num_samples: int = Field(default=32, ge=1, le=100_000)
    ks: tuple[Count, ...] = (1, 4, 8, 16)
    temperature: float = Field(default=1.0, ge=LEAST_TEMPERATURE, le=MOST_TEMPERATURE)
    max_rows: Count = 256
    seed: Seed = 0
    engine: Literal["policy", "vllm"] = "policy"
    check_chains: bool = True

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        above = [k for k in self.ks if k > self.num_samples]
        if above and "ks" in self.model_fields_set and self.sampled != "never":
            raise ConfigError(
                f"evaluation.ks has {above[0]}, and pass@{above[0]} needs as many samples; set "
                f"evaluation.num_samples to {above[0]} or more (it is {self.num_samples})."
            )
        return self


class TrackingSettings(Section):
    """Where the run is logged and how often it can be continued from.

    ``tags`` are put on the MLflow run; those that begin with ``ekipl.`` are the run's own.

    ``report_to``: trackers of transformers beside MLflow (tensorboard, wandb, ...), as installed.
    """

    experiment: str = Field(default="ekipl", pattern=r"\S", max_length=200)
    checkpoint_every: Count = 50
    keep_checkpoints: Count = 2
    tags: dict[str, str] = Field(default_factory=dict)
    report_to: tuple[str, ...] = ()

    @field_validator("tags")
    @classmethod
    def _tags_of_mlflow(cls, tags: dict[str, str]) -> dict[str, str]:
        for name, value in tags.items():
            if not _TAG.fullmatch(name) or posixpath.normpath(name) != name:
                raise ValueError(
                    f"{name!r} is no name of a tag; use letters, digits and _-.:/ (250 at most)"
                )
            if name.startswith("ekipl.") or name == "mlflow.runName":
                raise ValueError(f"{name!r} is set by the run itself; choose another name")
            if len(value) > _LONGEST_TAG:
                raise ValueError(f"{name!r} has over {_LONGEST_TAG} characters; shorten it")
        return tags


class TrainingSettings(Section):
    """``share_work``: what the rows of a group have in common is computed once, and groups without
    an advantage get no backward pass (docs/training.md); the same up to the order of
    floating-point sums. False: TRL's own passes, bit for bit.
    """

    share_work: bool = True


class DiagnosticsSettings(Section):
    """What is looked at besides every step's metrics, every so many steps; 0: never.

    ``gradient_norms_every``: one backward pass per action source; ``doctor_every``: why groups
    taught nothing (docs/group_doctor.md).
    """

    gradient_norms_every: int = Field(default=50, ge=0)
    doctor_every: int = Field(default=50, ge=0)


class HardwareSettings(Section):
    """What a run is planned for; a name alone is its ``target``: ``hardware: t4``.

    ``target`` is t4, 4090, a100, a100_80gb or h100; ``gpu_memory_gib`` of each of ``gpus`` (None:
    the target's, or what this machine has), ``host_memory_gib`` of the machine; ``sharding``: how
    weights are shared among the GPUs; ``tokens_per_second``: completion tokens a second that one
    GPU generates and learns from, for the planned time. What a prompt holds where the data are not
    at hand: ``text_tokens``, ``images`` of ``image_side`` pixels square (None: data.image_size,
    else 56 for mini and 448 for others).
    """

    target: str | None = None
    host_memory_gib: float | None = Field(default=None, gt=0.0)
    tokens_per_second: float | None = Field(default=None, gt=0.0)
    gpu_memory_gib: float | None = Field(default=None, gt=0.0)
    gpus: Count = 1
    sharding: Literal["none", "fsdp2", "zero3"] = "none"
    text_tokens: Count = 256
    images: int = Field(default=1, ge=0)
    image_side: int | None = Field(default=None, ge=28)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return {"target": str(given)} if isinstance(given, str | int) else given

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.target is not None and self.target not in TARGETS:
            raise unknown_name("hardware.target", self.target, TARGETS)
        return self

    @property
    def memory_gib(self) -> float | None:
        """Of each GPU that the run is planned for; None: of this machine's."""
        named = TARGETS[self.target].memory_gib if self.target is not None else None
        return self.gpu_memory_gib or named
