"""What a planned run is made of, loaded and checked: prompts, sets, teachers, policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ekipl_lab.benchmarks.reason_rft.loading import FOLDER_VARIABLE, published_at_hand
from ekipl_lab.errors import unknown_name
from ekipl_lab.training.config.check import CheckedRun, check_run
from ekipl_lab.training.config.late import check_engine
from ekipl_lab.training.config.plan import Plan, plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import batch_sizes, planned_processes
from ekipl_lab.training.distill import check_distilled
from ekipl_lab.training.ranks import on_main
from ekipl_lab.training.run_data import left_out_lines, load_evaluation_sets, load_training_samples
from ekipl_lab.training.run_policy import (
    load_run_policy,
    policy_without_weights,
    run_adapter,
    save_start,
)
from ekipl_lab.training.run_teachers import build_run_teachers, teacher_context
from ekipl_lab.types import Sample

if TYPE_CHECKING:
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.policies.load import Policy


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
    sets = checked_sets(config, samples, left_out.append)
    teachers = build_run_teachers(config, samples)
    check_ahead(config.prefetch.generations, teachers)
    check_recorded(teachers, config.ekipl, run.args, samples, plan.steps)
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
    sets = checked_sets(config, samples, left_out.append)
    check_teachers(config.teachers, teacher_context(config, samples))
    light = [spec for spec in config.teachers if not isinstance(spec, LocalSpec)]
    teachers = build_run_teachers(config.model_copy(update={"teachers": tuple(light)}), samples)
    if len(light) == len(config.teachers):  # a local one may be behind a gateway
        check_ahead(config.prefetch.generations, teachers)
    check_recorded(teachers, config.ekipl, run.args, samples, plan.steps)
    policy = policy_without_weights(config)
    if policy is not None:
        check_distilled(config.ekipl.distill, policy.tokenizer_id)
        run_adapter(config, policy)
        _check_prompts(run, policy, samples, sets)
    counts = {"train": len(samples)} | {label: len(found) for label, found in sets.items()}
    found = "data                    " + ", ".join(f"{k} {n}" for k, n in counts.items())
    return Looked("\n".join([found, *left_out_lines(left_out)]), samples, teachers)


def _check_prompts(
    run: CheckedRun, policy: Policy, samples: list[Sample], sets: dict[str, list[Sample]]
) -> None:
    """DataError for a prompt that the policy cannot take, before an MLflow run is made."""
    from ekipl_lab.policies.context import check_prompts_fit
    from ekipl_lab.training.generation import token_limit

    new, limit = run.args.max_completion_length or 0, token_limit(policy.model, run.args)
    for chosen in (samples, *sets.values()):
        check_prompts_fit(policy, chosen, new, limit)


def checked_sets(
    config: RunConfig, samples: list[Sample], on_bad: Callable[[str], None]
) -> dict[str, list[Sample]]:
    """The evaluation sets, once every ground truth of theirs and of ``samples`` can be scored."""
    from ekipl_lab.rewards import check_ground_truths, check_scorer

    scorers = {config.reward.scorer, *(one.scorer for one in config.reward.extra.values())}
    _check_gate_families(config, samples)
    sets = load_evaluation_sets(config, on_bad)
    for chosen in (samples, *sets.values()):
        check_ground_truths(chosen)
        for name in sorted(scorers):
            check_scorer(name, chosen)
    return sets


def _check_gate_families(config: RunConfig, samples: Sequence[Sample]) -> None:
    """ConfigError for a gate of a family that the data do not have.

    A table of gates may be about families that the run leaves out, by ``families`` or since it
    takes fewer samples than there are families (they are drawn in turn).
    """
    data, known = config.data, {sample.family for sample in samples}
    if data.families or data.start or len(samples) <= len(known):
        return
    for teacher, entries in config.ekipl.teacher_gates.items():
        for task, _, family in (where.partition("/") for where in entries):
            if task == data.task and family and family not in known:
                raise unknown_name(
                    f"family in ekipl.teacher_gates.{teacher}", family, sorted(known - {""})
                )
