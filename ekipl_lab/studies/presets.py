"""Arms of a study by name: the stages of each, as differences from the base config.

The base is the paper's rule with its teachers. A stage is a run of the trainer (`Train`) or
supervised steps on the teachers' actions (`Supervise`); each goes on from the policy that the one
before it left.

``ans_sft`` and ``cot_sft`` are the paper's baselines (arXiv 2506.06856; both as in Reason-RFT,
arXiv 2503.20752): with x the prompt and y the answer alone in its tags, or a chain of the data and
the answer,

    L = - sum over tokens t of log pi(y_t | x, y_<t) / number of tokens of the step

Chains of teachers (recorded, of an oracle or an API) are `sft_actions`: the same loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import batch_sizes


@dataclass(frozen=True, slots=True)
class Train:
    """A run of the trainer: dotted keys that differ from the base; ``needs``: keys an arm gives."""

    set: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Supervise:
    """Supervised steps on teacher actions: `ActionSFT` settings that differ from the study's."""

    set: Mapping[str, Any] = field(default_factory=dict)


Stage = Train | Supervise
Stages = Callable[[RunConfig], tuple[Stage, ...]]

_GRPO = Train({"teachers": [], "ekipl.selection": "policy_only"})


def _always(*stages: Stage) -> Stages:
    return lambda base: stages


def _grpo_more(base: RunConfig) -> tuple[Stage, ...]:
    """GRPO with a sample of its own for every teacher action: G + k in a group, all trained on.

    As many prompts a step as the base: a device holds more rows at once, or, where those are not
    whole groups' worth, a step accumulates over more of them.
    """
    sizes, given = batch_sizes(base), base.grpo_settings
    group = sizes.group + sum(spec.actions for spec in base.teachers)
    rows, accumulate = (int(given[k]) for k in ("per_device_train_batch_size", _ACCUMULATE))
    more: dict[str, Any] = {"grpo.num_generations": group}
    if rows * group % sizes.group == 0:
        more["grpo.per_device_train_batch_size"] = rows * group // sizes.group
        return (Train({**_GRPO.set, **more}),)
    total, rest = divmod(rows * accumulate * group, sizes.group)
    if rest or {"steps_per_generation", "generation_batch_size"} & base.grpo.keys():
        raise ConfigError(
            f"grpo_more needs {rows} rows x {group} / {sizes.group}, which is not whole; make "
            "grpo.per_device_train_batch_size a multiple of grpo.num_generations."
        )
    held = max(n for n in range(1, rows + 1) if total % n == 0)
    more["grpo.per_device_train_batch_size"] = held
    more[f"grpo.{_ACCUMULATE}"] = total // held
    return (Train({**_GRPO.set, **more}),)


def _signs(**weights: Any) -> Train:
    return Train({**_GRPO.set, "ekipl.signs": weights})


def _teacher_prefix(base: RunConfig) -> tuple[Stage, ...]:
    """Most of a teacher's chain at first, nothing of it at the end."""
    steps = plan_run(base).steps
    falling = {"prefix.share": [[0, _PREFIX], [steps, 0.0]]}
    own = {"prefix": {"share": _PREFIX}, "schedules": falling}
    return (Train({"ekipl.selection": "policy_only", **{f"ekipl.{k}": v for k, v in own.items()}}),)


def _distill(base: RunConfig) -> tuple[Stage, ...]:
    """From the teacher that the base or the arm names: ``set: {ekipl.distill.path: ...}``."""
    return (Train(_GRPO.set, needs=("ekipl.distill.path",)),)


_ACCUMULATE = "gradient_accumulation_steps"

#: Share of a teacher's chain that is given at the first step.
_PREFIX = 0.9

#: A tenth of the prompts is held out, and the policy of the lowest loss on it is kept.
_LOWEST = {"validation": 0.1}

#: Eight passes over the teachers' actions.
_REPEATED = {"epochs": 8}

PRESETS: dict[str, Stages] = {
    "zero_shot": _always(),
    "grpo": _always(_GRPO),
    "grpo_more": _grpo_more,
    "ans_sft": _always(Supervise({"learn": "answers"})),
    "cot_sft": _always(Supervise({"learn": "chains"})),
    "sft_actions": _always(Supervise()),
    "sft_repeated": _always(Supervise(_REPEATED)),
    "sft_repeated_then_grpo": _always(Supervise(_REPEATED), _GRPO),
    "sft_averaged": _always(Supervise({"epochs": 4, "average": 0.75})),
    "sft_then_grpo": _always(Supervise(), _GRPO),
    "sft_lowest_then_grpo": _always(Supervise(_LOWEST), _GRPO),
    "on_failure": _always(Train({"ekipl.selection": "on_failure"})),
    "paper": _always(Train({"ekipl.selection": "top_g"})),
    "sft_then_paper": _always(Supervise(), Train({"ekipl.selection": "top_g"})),
    "teacher_prefix": _teacher_prefix,
    "w_reinforce": _always(_signs(positive=0.1)),
    "few_negatives": _always(_signs(negative=0.1)),
    "paper_veto": _always(Train({"ekipl.selection": "top_g", "ekipl.signs": {"veto": True}})),
    "distill": _distill,
    "rasft": _always(Supervise({"weighting": "solve_rate"})),
}
