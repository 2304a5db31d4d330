"""Which settings cannot go together, and why: one sentence each, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ekipl_lab.benchmarks import Request, iterate_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.reason_rft.loading import check_names
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.groups.candidates import Candidates
from ekipl_lab.groups.selection import get_rule
from ekipl_lab.groups.weighting import get_weighting
from ekipl_lab.teachers.build import EnsembleSpec
from ekipl_lab.training.config.sections import DataSettings, EvaluationSet

if TYPE_CHECKING:
    from ekipl_lab.training.config.run_config import RunConfig

#: TRL's losses whose policy term is the clipped ratio, into which `weighting.as_trl` fits.
RATIO_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo")
#: TRL's settings that look at a whole action, with the value at which they do not act.
TOKEN_LEVEL = {
    "importance_sampling_level": "token",
    "off_policy_mask_threshold": None,
    "use_bias_correction_kl": False,
}


def check_combinations(config: RunConfig, settings: Mapping[str, Any]) -> None:
    """ConfigError for the first combination that makes no sense; ``settings`` are TRL's."""
    _check_sharding(config)
    _check_data(config)
    _check_teachers(config)
    _check_selection(config, settings)
    _check_weighting(config, settings)
    _check_mixing(config, settings)
    _check_refill(config)
    _check_prefix(config, settings)
    _check_distill(config, settings)


def _check_refill(config: RunConfig) -> None:
    if config.ekipl.refill.rounds and config.ekipl.prefix.on:
        raise ConfigError(
            "ekipl.refill cannot exchange rows that begin with a teacher's tokens; set "
            "ekipl.refill.rounds=0 or ekipl.prefix.share=0."
        )


def evaluation_data(config: RunConfig, chosen: EvaluationSet) -> DataSettings:
    """An evaluation set as data settings: what it does not say is as in training.

    Families of the training data are those of the set only if the task is the same.
    """
    data = config.data
    same_task = chosen.task in (None, data.task)
    return data.model_copy(
        update={
            "task": chosen.task or data.task,
            "split": chosen.split,
            "families": data.families if chosen.families is None and same_task else chosen.families,
            "limit": chosen.limit,
            "start": 0,
            "seed": chosen.seed,
        }
    )


def _check_sharding(config: RunConfig) -> None:
    """Sharded weights are measured where the whole model is what was sharded: FSDP2, ZeRO-3."""
    from ekipl_lab.policies.sharding import sharded_loading, uses_fsdp2

    own = config.evaluation
    if own.engine == "vllm":
        if not config.grpo_settings.get("use_vllm"):
            raise ConfigError(
                "evaluation.engine is vllm, and the run generates without it; set "
                "grpo.use_vllm=true, or leave evaluation.engine out."
            )
        return
    if not sharded_loading() or not own.sets or not (own.at_start or own.every or own.at_end):
        return
    fsdp1 = sharded_loading(("FSDP",)) and not uses_fsdp2()
    if fsdp1 or config.policy.adapter is not None:
        lack = "FSDP version 1" if fsdp1 else "an adapter on sharded weights"
        raise ConfigError(
            f"With {lack} the policy cannot be measured during the run; set "
            "evaluation.at_start=false evaluation.every=0 evaluation.at_end=false and use "
            "`ekipl eval` afterwards, or evaluation.engine=vllm"
            + (", or fsdp_version: 2." if fsdp1 else ".")
        )


def _check_data(config: RunConfig) -> None:
    """Tasks, splits, families and image size of a known benchmark; no sample is drawn."""
    for data in (config.data, *(evaluation_data(config, s) for s in config.evaluation.sets)):
        if data.benchmark == "reason_rft":
            check_names(data.task, data.split, data.families)
        if data.benchmark != "mini":
            continue
        request = Request(data.task, data.split, data.families, image_size=data.image_size)
        iterate_samples("mini", request)


def _check_gate_families(data: DataSettings, setting: str, entries: Iterable[str]) -> None:
    """A family of the run's task that a gate names is one, where the benchmark's are known."""
    named = [where.partition("/")[2] for where in entries if where.startswith(f"{data.task}/")]
    if data.benchmark == "reason_rft":
        check_names(data.task, data.split, named)
    for family in named if data.benchmark == "mini" else ():
        if family not in MINI_TASKS[data.task].families:
            raise unknown_name(f"family in {setting}", family, MINI_TASKS[data.task].families)


def _check_teachers(config: RunConfig) -> None:
    """Settings about teachers need some, and must name those there are."""
    own, ids = config.ekipl, [spec.id for spec in config.teachers]
    unknown = sorted(set(own.teacher_gates) - {*ids, "*"})
    if unknown:
        raise ConfigError(
            f"ekipl.teacher_gates names teacher {unknown[0]!r}; the teachers are {ids}."
        )
    for teacher, entries in own.teacher_gates.items():
        tasks = {where.partition("/")[0] for where in entries}
        if tasks and not tasks & {"*", config.data.task}:
            raise ConfigError(
                f"ekipl.teacher_gates.{teacher} has no gate for the run's task "
                f"{config.data.task!r}, only for {', '.join(sorted(tasks))}; add one, or * for all."
            )
        _check_gate_families(config.data, f"ekipl.teacher_gates.{teacher}", entries)
    if ids:
        return
    about = [name for name in own.schedules if name.startswith(("teacher_", "sft.", "prefix."))]
    for setting, given in (
        (f"schedules.{about[0]}" if about else "", bool(about)),
        ("teacher_gates", bool(own.teacher_gates)),
        ("run_budget", bool(own.run_budget)),
        ("sft", own.sft.type != "none"),
        ("prefix", own.prefix.on),
    ):
        if given:
            raise ConfigError(f"ekipl.{setting} is about teachers, and this run has none.")


def _check_selection(config: RunConfig, settings: Mapping[str, Any]) -> None:
    """The rule takes a group of the run's size, at every bend of its schedules."""
    own, size = config.ekipl, int(settings["num_generations"])
    pool = Candidates.of([0.0] * size, [True] * size, [False] * size, size)
    for step in own.scheduled_steps():
        get_rule(own.selection).select(pool, **own.params_at(step))


def _check_weighting(config: RunConfig, settings: Mapping[str, Any]) -> None:
    """Another weight than pi/pi_old must fit into TRL's loss, and q must be known."""
    own, name = config.ekipl, config.ekipl.weighting
    for spec in config.teachers if get_weighting(name).needs_q else ():
        if not spec.may_give_logprobs:
            raise no_q(name, spec.id, "gives none")
        if getattr(spec, "temperature", None) == 0:
            raise ConfigError(
                f"Weighting {name!r} divides by the probabilities that teacher {spec.id!r} "
                "sampled with, and at temperature 0 it does not sample."
            )
    what = f"weighting {name!r}" if name != "policy_ratio" else ""
    if "teacher_weight" in own.schedules:
        what = what or "schedules.teacher_weight"
    if what:
        _check_fits(what, "weighs single tokens", settings)
    what = what or ("signs.veto" if own.signs.veto else "")
    if what and config.teachers and not get_rule(own.selection).keeps_teachers:
        raise ConfigError(
            f"ekipl.{what} is about kept teacher rows, and {own.selection} keeps none; leave it "
            "out, or choose another selection."
        )


def no_q(weighting: str, teacher: str, lack: str) -> ConfigError:
    """The error for a weighting that divides by q where a teacher does not give it."""
    return ConfigError(
        f"Weighting {weighting!r} divides by the teacher's own token probabilities, and teacher "
        f"{teacher!r} {lack}; choose policy_ratio, shaped or mixture_ratio, or a local teacher "
        "with the policy's tokenizer."
    )


def _check_mixing(config: RunConfig, settings: Mapping[str, Any]) -> None:
    own, mixing = config.ekipl, config.ekipl.sft
    if not mixing.on:
        if "sft.mu" in own.schedules:
            raise ConfigError("ekipl.schedules.sft.mu weighs no SFT term; set ekipl.sft.type.")
        return
    name = f"sft.type {mixing.type!r}"
    if not get_rule(own.selection).keeps_teachers:
        raise ConfigError(
            f"ekipl.{name} imitates kept teacher rows, and {own.selection} keeps none."
        )
    if mixing.mu == 0 and "sft.mu" not in own.schedules:
        raise ConfigError(f"ekipl.{name} with mu 0 imitates nothing; set ekipl.sft.mu.")
    _check_fits(name, "adds a term per token", settings)
    if settings.get("top_entropy_quantile", 1.0) < 1.0:
        raise ConfigError(
            f"ekipl.{name} cannot be combined with grpo.top_entropy_quantile: imitation would be "
            "masked where the policy is sure, also where it is surely wrong."
        )
    if settings.get("mask_truncated_completions"):
        raise ConfigError(
            f"ekipl.{name} cannot be combined with grpo.mask_truncated_completions: masked rows "
            "leave TRL's token count, and the term's weight would no longer be mu."
        )
    if mixing.reinforce and settings.get("delta") is not None:
        raise ConfigError(
            "ekipl.sft.reinforce adds up slopes of the one-sided clip; it cannot be combined with "
            "grpo.delta."
        )
    if mixing.chord and not mixing.reinforce:
        if own.baseline != "policy":
            raise ConfigError(
                f"ekipl.{name} takes teacher rows out of L_GRPO, so their rewards must not lift "
                "its baseline: every policy action would look bad. Set ekipl.baseline=policy, or "
                "ekipl.sft.reinforce=true."
            )
        if own.weighting != "policy_ratio":
            raise ConfigError(
                f"ekipl.weighting {own.weighting!r} would never act: ekipl.{name} takes teacher "
                "rows out of L_GRPO. Set ekipl.sft.reinforce=true, or weighting policy_ratio."
            )


def _check_prefix(config: RunConfig, settings: Mapping[str, Any]) -> None:
    """A teacher's beginning needs TRL's own generation, and takes the teachers for itself."""
    from ekipl_lab.policies.sharding import sharded_loading

    own = config.ekipl
    if not own.prefix.on:
        if "prefix.share" in own.schedules:
            raise ConfigError("ekipl.schedules.prefix.share needs ekipl.prefix.share above 0.")
        return
    if own.selection != "policy_only":
        raise ConfigError(
            f"ekipl.prefix puts the teachers into the prompt, and selection {own.selection!r} "
            "would keep their actions too; set ekipl.selection=policy_only."
        )
    if settings.get("use_vllm") or sharded_loading():
        raise ConfigError(
            "ekipl.prefix samples some rows again on their own process; it cannot be combined "
            "with grpo.use_vllm, FSDP or DeepSpeed."
        )
    for spec in config.teachers:
        if isinstance(spec, EnsembleSpec) and spec.actions != 1:
            raise ConfigError(
                f"ekipl.prefix asks a teacher for one action a prompt, and the ensemble "
                f"{spec.id!r} gives {spec.actions}; name its members as teachers, one by one."
            )
    if config.prefetch.generations:
        raise ConfigError("ekipl.prefix asks teachers one by one; set prefetch.generations=0.")


def _check_distill(config: RunConfig, settings: Mapping[str, Any]) -> None:
    if config.ekipl.distill.on:
        if config.teachers:
            raise ConfigError(
                "ekipl.distill judges the policy's own tokens; it cannot be combined with teachers "
                "that give actions. Set teachers: []."
            )
        _check_fits("distill", "judges single tokens", settings)


def _check_fits(what: str, why: str, settings: Mapping[str, Any]) -> None:
    loss = settings.get("loss_type", "dapo")
    if loss not in RATIO_LOSSES:
        raise ConfigError(
            f"ekipl.{what} needs a loss with a clipped ratio ({', '.join(RATIO_LOSSES)}); "
            f"grpo.loss_type is {loss!r}."
        )
    for key, neutral in TOKEN_LEVEL.items():
        if settings.get(key, neutral) != neutral:
            raise ConfigError(
                f"ekipl.{what} {why}; it cannot be combined with grpo.{key}: {settings[key]}."
            )
