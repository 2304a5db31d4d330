"""What a run is made of: prompts, evaluation sets, reward, teachers, policy; loaded and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.prompts import instructed
from ekipl_lab.tracking.store import project_root
from ekipl_lab.training.config.combinations import evaluation_families
from ekipl_lab.training.config.plan import Plan, plan_run, world_size
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.types import Sample

if TYPE_CHECKING:
    from ekipl_lab.groups.collect import Scorer
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.policies.load import Policy


@dataclass(frozen=True, slots=True)
class RunSetup:
    """What a run is made of, before it is put together."""

    policy: Policy
    samples: list[Sample]
    sets: dict[str, list[Sample]]
    scorer: Scorer
    teachers: list[Teacher]
    plan: Plan


def build_setup(config: RunConfig, folder: Path, args: Any) -> RunSetup:
    """Load and check everything, cheapest first, so that wrong use costs no time."""
    from ekipl_lab.policies.load import sharded_loading
    from ekipl_lab.rewards import check_ground_truths, get_scorer
    from ekipl_lab.training.loss.token_weights import check_scored

    own = config.evaluation
    if sharded_loading() and own.sets and (own.at_start or own.every or own.at_end):
        raise ConfigError(
            "With FSDP or DeepSpeed no process holds the whole model, so it cannot be measured "
            "during the run; set evaluation.at_start=false evaluation.every=0 "
            "evaluation.at_end=false and use `ekipl eval` afterwards."
        )
    scorer = get_scorer(config.reward.scorer, config.reward.weights)
    samples = load_training_samples(config)
    plan = plan_run(config, len(samples))
    sets = load_evaluation_sets(config)
    for chosen in (samples, *sets.values()):
        check_ground_truths(chosen)
    teachers = build_run_teachers(config, samples)
    with args.distributed_state.main_process_first():
        policy = load_run_policy(config, folder)
    check_scored(config.ekipl.weighting, teachers, policy.tokenizer_id)
    return RunSetup(policy, samples, sets, scorer, teachers, plan)


def load_training_samples(config: RunConfig) -> list[Sample]:
    """The training prompts of a config."""
    from ekipl_lab.benchmarks import load_samples

    data = config.data
    samples = load_samples(
        data.benchmark,
        task=data.task,
        split=data.split,
        families=data.families,
        limit=data.limit,
        start=data.start,
        seed=data.seed,
        image_size=data.image_size,
    )
    return _as_asked(config, samples)


def load_evaluation_sets(config: RunConfig) -> dict[str, list[Sample]]:
    """Label -> samples of every evaluation set of a config."""
    from ekipl_lab.benchmarks import load_samples

    return {
        chosen.label: _as_asked(
            config,
            load_samples(
                config.data.benchmark,
                task=chosen.task or config.data.task,
                split=chosen.split,
                families=evaluation_families(config, chosen),
                limit=chosen.limit,
                seed=chosen.seed,
                image_size=config.data.image_size,
            ),
        )
        for chosen in config.evaluation.sets
    }


def _as_asked(config: RunConfig, samples: Sequence[Sample]) -> list[Sample]:
    return [instructed(sample, config.data.instructed) for sample in samples]


def build_run_teachers(config: RunConfig, samples: Sequence[Sample]) -> list[Teacher]:
    """The teachers of a config; oracles get the benchmark's chain writer."""
    from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.teachers.adapters.random import pool_of
    from ekipl_lab.teachers.build import build_teachers

    has_scenes = config.data.benchmark == "mini"
    sources = build_teachers(
        config.teachers,
        write_chain if has_scenes else None,
        styles=CHAIN_STYLES if has_scenes else (),
        pool=pool_of(samples),
    )
    pairs = zip(sources, config.teachers, strict=True)
    return [Teacher(source, spec.actions) for source, spec in pairs]


def load_run_policy(config: RunConfig, folder: Path) -> Policy:
    """The policy in memory; a built one is saved first, so that a reference can be loaded too."""
    from ekipl_lab.policies.adapters import freeze_vision, is_adapter_folder
    from ekipl_lab.policies.build import build_tiny_policy
    from ekipl_lab.policies.load import load_policy, save_policy

    path: str | Path | None = config.policy.path
    if config.policy.build is not None:
        path = folder / "start"
        if not path.is_dir():
            model, processor = build_tiny_policy(config.policy.build, config.seed)
            save_policy(model, processor, path, dtype="float32")
    assert path is not None
    if not Path(path).is_dir() and (project_root() / path).is_dir():
        path = project_root() / path  # a notebook runs in a folder of its own
    if is_adapter_folder(path):
        raise ConfigError(
            f"policy.path {config.policy.path!r} is an adapter; training starts from whole "
            "weights, so merge it first (`ekipl merge`)."
        )
    policy = load_policy(path, dtype=config.policy.dtype, quantize=config.policy.quantize)
    if config.policy.freeze_vision:
        freeze_vision(policy.model)
    return policy


def run_adapter(config: RunConfig, policy: Policy) -> Any:
    """PEFT's configuration of the run's adapter, None if the weights themselves are trained."""
    from ekipl_lab.policies.adapters import lora_config

    own = config.policy.adapter
    return None if own is None else lora_config(policy.model, **own.model_dump())


def fingerprint(samples: Sequence[Sample]) -> str:
    """16 hex digits over ids, questions and answers, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(repr((sample.id, sample.question, sample.answer)).encode())
    return digest.hexdigest()[:16]


def run_params(config: RunConfig) -> dict[str, Any]:
    """The twenty or so settings by which runs are told apart."""
    grpo = config.grpo_settings
    chosen = ("num_generations", "learning_rate", "beta", "loss_type", "num_iterations",
              "temperature", "max_completion_length", "max_steps",
              "per_device_train_batch_size", "gradient_accumulation_steps")  # fmt: skip
    return {
        "method": "ekipl" if config.teachers else "grpo",
        "policy": config.policy.path or f"built {config.policy.build}",
        "trained": _trained(config),
        "task": config.data.task,
        "families": ",".join(config.data.families or ("all",)),
        "seed": config.seed,
        "teachers": ",".join(f"{t.id}x{t.actions}" for t in config.teachers) or "none",
        "selection": config.ekipl.selection,
        "weighting": config.ekipl.weighting,
        "baseline": config.ekipl.baseline,
        "scorer": config.reward.scorer,
        "processes": world_size(),
        **{name: grpo[name] for name in chosen if name in grpo},
    }


def _trained(config: RunConfig) -> str:
    """What of the policy is trained, in a word or two."""
    own = config.policy
    if own.adapter is not None:
        return f"{'qlora' if own.quantize != 'none' else 'lora'} r={own.adapter.rank}"
    return "all but vision" if own.freeze_vision else "all"
