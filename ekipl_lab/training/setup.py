"""What a planned run is made of: prompts, evaluation sets, teachers, policy; loaded and checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.benchmarks.image_files import with_pixels
from ekipl_lab.benchmarks.reason_rft.loading import FOLDER_VARIABLE
from ekipl_lab.errors import ConfigError
from ekipl_lab.prompts import instructed
from ekipl_lab.tracking.store import project_root
from ekipl_lab.training.checkpoint import is_whole, mark_complete
from ekipl_lab.training.config.check import CheckedRun, check_run
from ekipl_lab.training.config.combinations import evaluation_data
from ekipl_lab.training.config.plan import Plan, plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sections import DataSettings, PolicySettings
from ekipl_lab.training.config.sizes import batch_sizes, planned_processes
from ekipl_lab.training.ranks import on_main
from ekipl_lab.types import Sample

if TYPE_CHECKING:
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.policies.load import Policy


@dataclass(frozen=True, slots=True)
class RunSetup:
    """Everything that training needs: the checked run, its plan, and what they say, in memory.

    ``sets`` maps the label of each evaluation set to its samples.
    """

    run: CheckedRun
    plan: Plan
    samples: list[Sample]
    sets: dict[str, list[Sample]]
    teachers: list[Teacher]
    policy: Policy


def build_setup(run: CheckedRun, plan: Plan, samples: list[Sample]) -> RunSetup:
    """Load and check everything else, cheapest first, so that wrong use costs no time."""
    from ekipl_lab.training.loss.token_weights import check_scored

    config = run.config
    sets = _checked_sets(config, samples)
    teachers = build_run_teachers(config, samples)
    on_main(lambda: save_start(config, run.folder))
    policy = load_run_policy(config, run.folder)  # all at once: each takes its shard of the weights
    check_scored(config.ekipl.weighting, teachers, policy.tokenizer_id)
    return RunSetup(run, plan, samples, sets, teachers, policy)


def check_setup(config: RunConfig) -> str:
    """What `build_setup` checks, but for weights, which are not loaded; what was looked at.

    The published data set is checked only where it is at hand: it would be downloaded.
    """
    from ekipl_lab.teachers.adapters.local import LocalSpec

    check_run(config, "unused")
    if config.data.benchmark == "reason_rft" and not os.environ.get(FOLDER_VARIABLE):
        return f"data                    not at hand, not checked (set {FOLDER_VARIABLE})"
    samples = load_training_samples(config)
    plan_run(config, len(samples), batch_sizes(config, planned_processes(config)))
    sets = _checked_sets(config, samples)
    light = [spec for spec in config.teachers if not isinstance(spec, LocalSpec)]
    build_run_teachers(config.model_copy(update={"teachers": tuple(light)}), samples)
    _check_no_adapter(config, policy_path(config.policy.path or ""))
    counts = {"train": len(samples)} | {label: len(found) for label, found in sets.items()}
    return "data                    " + ", ".join(f"{k} {n}" for k, n in counts.items())


def _checked_sets(config: RunConfig, samples: list[Sample]) -> dict[str, list[Sample]]:
    """The evaluation sets, once every ground truth of theirs and of ``samples`` can be scored."""
    from ekipl_lab.rewards import check_ground_truths

    sets = load_evaluation_sets(config)
    for chosen in (samples, *sets.values()):
        check_ground_truths(chosen)
    return sets


def load_training_samples(config: RunConfig) -> list[Sample]:
    """The training prompts of a config."""
    return load_data(config.data, config.policy)


def load_evaluation_sets(config: RunConfig) -> dict[str, list[Sample]]:
    """Label -> samples of every evaluation set of a config."""
    return {
        chosen.label: load_data(evaluation_data(config, chosen), config.policy)
        for chosen in config.evaluation.sets
    }


def load_data(data: DataSettings, policy: PolicySettings) -> list[Sample]:
    """The samples of data settings, asked as these say, images as the policy's settings say."""
    from ekipl_lab.benchmarks import load_samples

    # All other settings are the loader's own keywords.
    keywords = data.model_dump(exclude={"benchmark", "instructed"})
    samples = load_samples(data.benchmark, **keywords)
    sized = (with_pixels(sample, policy.min_pixels, policy.max_pixels) for sample in samples)
    return [instructed(sample, data.instructed) for sample in sized]


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


def policy_path(path: str) -> str | Path:
    """Where a policy lies: a folder, here or in the project, or the id of a hub model.

    A notebook runs in a folder of its own, and its configs name paths from the project's.
    """
    in_project = project_root() / path
    return in_project if not Path(path).is_dir() and in_project.is_dir() else path


def save_start(config: RunConfig, folder: Path) -> str | Path:
    """Where the policy starts from; a built one is saved, so that a reference can be loaded too."""
    from ekipl_lab.policies.build import build_tiny_policy
    from ekipl_lab.policies.load import save_policy

    own = config.policy
    if own.build is None:
        return policy_path(own.path or "")
    path = folder / "start"
    if not is_whole(path):
        shutil.rmtree(path, ignore_errors=True)
        model, processor = build_tiny_policy(own.build, config.seed)
        save_policy(model, processor, path, dtype="float32")
        mark_complete(path, 0, {})
    return path


def load_run_policy(config: RunConfig, folder: Path) -> Policy:
    """The policy in memory, frozen in part as the settings say."""
    from ekipl_lab.policies.adapters import freeze_vision
    from ekipl_lab.policies.load import load_policy

    own, path = config.policy, save_start(config, folder)
    _check_no_adapter(config, path)
    policy = load_policy(path, dtype=own.dtype, quantize=own.quantize)
    if own.freeze_vision:
        freeze_vision(policy.model)
    return policy


def _check_no_adapter(config: RunConfig, path: str | Path) -> None:
    from ekipl_lab.policies.adapters import is_adapter_folder

    if is_adapter_folder(path):
        raise ConfigError(
            f"policy.path {config.policy.path!r} is an adapter; training starts from whole "
            "weights, so merge it first (`ekipl merge`)."
        )


def run_adapter(config: RunConfig, policy: Policy) -> Any:
    """PEFT's configuration of the run's adapter, None if the weights themselves are trained."""
    from ekipl_lab.policies.adapters import lora_config

    own = config.policy.adapter
    return None if own is None else lora_config(policy.model, **own.model_dump())
