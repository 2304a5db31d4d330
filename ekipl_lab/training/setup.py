"""What a planned run is made of: prompts, evaluation sets, teachers, policy; loaded and checked."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.benchmarks.image_files import with_pixels
from ekipl_lab.benchmarks.reason_rft.loading import FOLDER_VARIABLE, published_at_hand
from ekipl_lab.errors import ConfigError, DataError, RewardError
from ekipl_lab.prompts import instructed
from ekipl_lab.training.checkpoint import is_whole, mark_complete
from ekipl_lab.training.config.check import CheckedRun, check_run
from ekipl_lab.training.config.combinations import evaluation_data
from ekipl_lab.training.config.late import check_engine
from ekipl_lab.training.config.plan import Plan, plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sections import DataSettings, PolicySettings
from ekipl_lab.training.config.sizes import batch_sizes, planned_processes
from ekipl_lab.training.distill import check_distilled
from ekipl_lab.training.paths import policy_path
from ekipl_lab.training.ranks import on_main
from ekipl_lab.types import Sample

if TYPE_CHECKING:
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.policies.load import Policy
    from ekipl_lab.teachers.spec import TeacherContext


@dataclass(frozen=True, slots=True)
class RunSetup:
    """Everything that training needs: the checked run, its plan, and what they say, in memory.

    ``sets`` maps the label of each evaluation set to its samples; ``left_out`` says of each record
    that ``data.on_bad_record: skip`` left out what was wrong with it.
    """

    run: CheckedRun
    plan: Plan
    samples: list[Sample]
    sets: dict[str, list[Sample]]
    teachers: list[Teacher]
    policy: Policy
    left_out: Sequence[str] = ()


def build_setup(
    run: CheckedRun, plan: Plan, samples: list[Sample], left_out: list[str] | None = None
) -> RunSetup:
    """Load and check everything else, cheapest first, so that wrong use costs no time."""
    from ekipl_lab.training.loss.token_weights import check_scored
    from ekipl_lab.training.recorded import check_ahead, check_recorded

    config = run.config
    check_engine(run.args)
    left_out = [] if left_out is None else left_out
    sets = _checked_sets(config, samples, left_out.append)
    teachers = build_run_teachers(config, samples)
    check_ahead(config.prefetch.generations, teachers)
    if not config.ekipl.teacher_gates:  # else some prompts may never be asked about
        check_recorded(teachers, run.args, samples, plan.steps)
    on_main(lambda: save_start(config, run.folder))
    policy = load_run_policy(config, run.folder)  # all at once: each takes its shard of the weights
    check_scored(config.ekipl.weighting, teachers, policy.tokenizer_id)
    check_distilled(config.ekipl.distill, policy.tokenizer_id)
    run_adapter(config, policy)
    if run.args.world_size == 1:  # else each rank checks its share (`EKIPLTrainer`)
        _check_prompts(run, policy, samples, sets)
    return RunSetup(run, plan, samples, sets, teachers, policy, left_out)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a dry run found: a text about it, the training samples (none: not at hand), teachers."""

    text: str
    samples: Sequence[Sample] = ()
    teachers: Sequence[Teacher] = ()


def check_setup(config: RunConfig) -> Looked:
    """What `build_setup` checks, but for weights, which are not loaded; what was looked at.

    The published data set is checked only where it is at hand, and so is a model of the hub: they
    would be downloaded.
    """
    from ekipl_lab.teachers.adapters.local import LocalSpec
    from ekipl_lab.teachers.build import check_teachers
    from ekipl_lab.training.recorded import check_ahead, check_recorded

    run = check_run(config, "unused")
    if config.data.benchmark == "reason_rft" and not published_at_hand():
        return Looked(f"data                    not at hand, not checked (set {FOLDER_VARIABLE})")
    left_out: list[str] = []
    samples = load_training_samples(config, left_out.append)
    plan = plan_run(config, len(samples), batch_sizes(config, planned_processes(config)))
    sets = _checked_sets(config, samples, left_out.append)
    check_teachers(config.teachers, _teacher_context(config, samples))
    light = [spec for spec in config.teachers if not isinstance(spec, LocalSpec)]
    teachers = build_run_teachers(config.model_copy(update={"teachers": tuple(light)}), samples)
    if len(light) == len(config.teachers):  # a local one may be behind a gateway
        check_ahead(config.prefetch.generations, teachers)
    if not config.ekipl.teacher_gates:
        check_recorded(teachers, run.args, samples, plan.steps)
    policy = _policy_without_weights(config)
    if policy is not None:
        check_distilled(config.ekipl.distill, policy.tokenizer_id)
        run_adapter(config, policy)
        _check_prompts(run, policy, samples, sets)
    counts = {"train": len(samples)} | {label: len(found) for label, found in sets.items()}
    found = "data                    " + ", ".join(f"{k} {n}" for k, n in counts.items())
    return Looked("\n".join([found, *left_out_lines(left_out)]), samples, teachers)


def left_out_lines(left_out: Sequence[str], named: int = 10) -> list[str]:
    """What is said of the records that were left out: how many, and the first few by name."""
    if not left_out:
        return []
    more = [f"  and {len(left_out) - named} more"] if len(left_out) > named else []
    head = f"left out                {len(left_out)} bad records (data.on_bad_record: skip)"
    return [head, *(f"  {text}" for text in left_out[:named]), *more]


def _check_prompts(
    run: CheckedRun, policy: Policy, samples: list[Sample], sets: dict[str, list[Sample]]
) -> None:
    """DataError for a prompt that the policy cannot take, before an MLflow run is made."""
    from ekipl_lab.policies.context import check_prompts_fit
    from ekipl_lab.training.trainer import token_limit

    new, limit = run.args.max_completion_length or 0, token_limit(policy.model, run.args)
    for chosen in (samples, *sets.values()):
        check_prompts_fit(policy, chosen, new, limit)


def _policy_without_weights(config: RunConfig) -> Policy | None:
    """The policy with a model that has shapes alone; None for one of the hub not at hand."""
    from ekipl_lab.policies.build import build_tiny_policy
    from ekipl_lab.policies.load import as_policy, check_checkpoint, is_local, load_processor
    from ekipl_lab.training.memory.shape import meta_model

    own = config.policy
    if own.build is not None:
        model, processor = build_tiny_policy(own.build, config.seed)
        return as_policy(model, processor)
    path = policy_path(own.path or "")
    _check_no_adapter(config, path)
    if not Path(path).is_dir() and not is_local(path):
        return None
    model = meta_model(check_checkpoint(path))
    return as_policy(model, load_processor(path), Path(path).name)


def _checked_sets(
    config: RunConfig, samples: list[Sample], on_bad: Callable[[str], None]
) -> dict[str, list[Sample]]:
    """The evaluation sets, once every ground truth of theirs and of ``samples`` can be scored."""
    from ekipl_lab.rewards import check_ground_truths

    sets = load_evaluation_sets(config, on_bad)
    for chosen in (samples, *sets.values()):
        check_ground_truths(chosen)
    return sets


#: More than any data set holds: what cannot be used is left out before `limit` is reached.
MOST_RECORDS = 10**9
#: Hears of each record that was left out; by default a warning says so.
OnBad = Callable[[str], None]


def load_training_samples(config: RunConfig, on_bad: OnBad = warnings.warn) -> list[Sample]:
    """The training prompts of a config."""
    return load_data(config.data, config.policy, on_bad)


def load_evaluation_sets(
    config: RunConfig, on_bad: OnBad = warnings.warn
) -> dict[str, list[Sample]]:
    """Label -> samples of every evaluation set of a config."""
    return {
        chosen.label: load_data(evaluation_data(config, chosen), config.policy, on_bad)
        for chosen in config.evaluation.sets
    }


def load_data(
    data: DataSettings, policy: PolicySettings, on_bad: OnBad = warnings.warn
) -> list[Sample]:
    """The samples of data settings, asked as these say, images as the policy's settings say.

    ``on_bad`` hears of each record that ``on_bad_record: skip`` leaves out.
    """
    from ekipl_lab.benchmarks import load_samples

    # All other settings are the loader's own keywords.
    keywords = data.model_dump(exclude={"benchmark", "instructed", "on_bad_record"})
    load = partial(load_samples, data.benchmark, **keywords)
    sized = partial(with_pixels, min_pixels=policy.min_pixels, max_pixels=policy.max_pixels)
    if data.on_bad_record == "stop":
        return [instructed(sized(sample), data.instructed) for sample in load()]
    many = data.limit if data.benchmark == "mini" else MOST_RECORDS
    everything = load(limit=many, on_bad=on_bad)
    return list(islice(_usable(everything, sized, data, on_bad), data.limit))


def _usable(
    samples: Sequence[Sample],
    sized: Callable[[Sample], Sample],
    data: DataSettings,
    on_bad: OnBad,
) -> Iterator[Sample]:
    """The samples whose pictures can be read and whose ground truth can be scored."""
    from ekipl_lab.rewards import check_ground_truth

    for sample in samples:
        try:
            check_ground_truth(sample)
            sample = instructed(sized(sample), data.instructed)
            for _ in sample.images:
                pass  # each is read
        except (DataError, RewardError) as error:
            on_bad(f"{sample.id}: {error}" if sample.id not in str(error) else str(error))
            continue
        yield sample


def build_run_teachers(config: RunConfig, samples: Sequence[Sample]) -> list[Teacher]:
    """The teachers of a config; oracles get the benchmark's chain writer."""
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.teachers.build import build_teachers

    given = _teacher_context(config, samples)
    sources = build_teachers(config.teachers, given.writer, styles=given.styles, pool=given.pool)
    pairs = zip(sources, config.teachers, strict=True)
    return [Teacher(source, spec.actions) for source, spec in pairs]


def _teacher_context(config: RunConfig, samples: Sequence[Sample]) -> TeacherContext:
    from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
    from ekipl_lab.teachers.adapters.random import pool_of
    from ekipl_lab.teachers.spec import TeacherContext

    for spec in config.teachers:
        if getattr(spec, "cot", False) and not any(sample.cot for sample in samples):
            raise ConfigError(
                f"Teacher {spec.id!r} repeats chains of the data, which hold none; name their "
                "column (`columns: {cot: ...}`) or take another teacher."
            )
    has_scenes = config.data.benchmark == "mini"
    writer, styles = (write_chain, CHAIN_STYLES) if has_scenes else (None, ())
    return TeacherContext(writer, styles, pool_of(samples))


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
    from ekipl_lab.policies.adapters import freeze_parts
    from ekipl_lab.policies.load import load_policy

    own, path = config.policy, save_start(config, folder)
    _check_no_adapter(config, path)
    policy = load_policy(
        path, dtype=own.dtype, quantize=own.quantize, attention=own.attn_implementation
    )
    freeze_parts(policy.model, own.frozen)
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
