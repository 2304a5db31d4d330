"""What a reader must know before comparing runs: what is unfinished, unequal or missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ekipl_lab.evaluation.metrics import MODES
from ekipl_lab.report.arms import arms_of, several_seeds
from ekipl_lab.report.gather import RunData, sets_of
from ekipl_lab.report.provenance import policy_completions
from ekipl_lab.training.inputs import CHANGED_CODE
from ekipl_lab.types import MISSING

#: Generation settings in which comparable evaluations may differ, and those of sampled ones only.
_FREE_SETTINGS = ("seed", "num_samples")
_SAMPLED_ONLY = ("temperature", "top_p", "top_k")
#: Tags of what runs are begun with, beside their data.
_INPUTS = ("ekipl.shown.", "ekipl.code.")
#: From this share of completions cut off on, it is said.
CUT_OFF = 0.02
#: What the data hash of an evaluation covers.
_DATA = "questions, images or answers"
#: What arms must share to be compared, by dotted config key.
_MUST_SHARE = ("policy", "data", "reward", "evaluation")


def warnings(runs: Sequence[RunData]) -> list[str]:
    """What a reader must know before comparing: unfinished runs, unequal conditions."""
    found = [
        f"{run.label} is {run.info.status.lower()}, not finished: what is called its end is its "
        "last evaluation so far."
        for run in runs
        if run.info.status != "FINISHED"
    ]
    trained = [run for run in runs if not run.is_evaluation]
    arms = arms_of(trained)
    seeds = {tuple(arm.runs) for arm in arms}
    if len(seeds) > 1:
        lists = "; ".join(f"{arm.label}: {', '.join(map(str, arm.runs))}" for arm in arms)
        found.append(f"The arms differ in seed ({lists}): only seeds that both have are compared.")
    for key in _MUST_SHARE:
        if len({json.dumps(run.config.get(key), sort_keys=True) for run in trained}) > 1:
            found.append(f"The arms differ in {key}: they cannot be compared as they stand.")
    scorers = {str(run.config.get("reward", {}).get("scorer", "ekipl/auto")) for run in runs}
    if len(scorers) > 1:
        found.append(f"The arms were judged by different scorers: {', '.join(sorted(scorers))}.")
    tags = {name for run in trained for name in run.info.tags if name.startswith("ekipl.data.")}
    for name in (*sorted(tags), "ekipl.prompts", "ekipl.git_revision"):
        if len({run.info.tags.get(name) for run in trained}) > 1:
            found.append(f"The arms differ in {name.removeprefix('ekipl.').replace('_', ' ')}.")
    found += _mixed_inputs(trained)
    found += [*_stale(trained), *_untaught(trained), *_cut_off(trained)]
    found += [*_missing(runs), *_unscored(runs)]
    found += [*_alone(runs), *_unlike(runs)]
    starts = [start for run in trained if (start := _start(run))]
    if any(start[i] != starts[0].get(i, start[i]) for start in starts[1:] for i in start):
        found.append("The arms did not answer alike at the start: they began from other policies.")
    if len(set(policy_completions(runs))) > 1:
        found.append("The arms sampled different numbers of policy completions.")
    return found


def _mixed_inputs(runs: Sequence[RunData]) -> Iterator[str]:
    """Pictures, choices, chains and own code in which arms differ, or that changed in between."""
    shared = sorted({name for run in runs for name in run.info.tags if name.startswith(_INPUTS)})
    for name in shared:
        if len({run.info.tags[name] for run in runs if name in run.info.tags}) > 1:
            kind, _, of = name.removeprefix("ekipl.").partition(".")
            what = "pictures, choices or chains" if kind == "shown" else "code"
            yield f"The arms differ in the {what} of {of}."
    for run in runs:
        if CHANGED_CODE in run.info.tags:
            yield f"{run.label} went on with other code: {run.info.tags[CHANGED_CODE]}."


def _stale(runs: Sequence[RunData]) -> Iterator[str]:
    """Sets that a finished run was not measured on at its end, or not in a mode."""
    for run in (one for one in runs if one.info.status == "FINISHED"):
        trained = max((step for points in run.history.values() for step, _ in points), default=0)
        for name in run.evaluations:
            ends = {mode: run.ends(name, mode) for mode in MODES}
            late = {mode: at[1] for mode, at in ends.items() if at and at[1] < trained}
            for step in sorted(set(late.values())):
                modes = " and ".join(mode for mode in late if late[mode] == step)
                yield (
                    f"{run.label} was last measured on {name!r} ({modes}) at step {step} of "
                    f"{trained}: what is called its end is that."
                )


def _untaught(runs: Sequence[RunData]) -> Iterator[str]:
    """Runs that asked teachers and kept nothing of theirs, or have it in the policy's actions."""
    for run in runs:
        if run.config.get("ekipl", {}).get("prefix", {}).get("share"):
            yield (
                f"In {run.label} actions of the policy begin with a teacher's where it failed "
                "(ekipl.prefix): what the policy is said to have done in training holds these."
            )
            continue
        kept = [run.history.get(f"share/{teacher}/kept", ()) for teacher in run.teachers]
        shares = [value for history in kept for _, value in history]
        if shares and not any(shares):
            yield (
                f"No action of a teacher was kept in {run.label}: all of its groups hold the "
                "policy's actions alone, as in GRPO, and say nothing about its teachers."
            )


def _cut_off(runs: Sequence[RunData]) -> Iterator[str]:
    """Runs in which the policy often had no room to end."""
    for run in runs:
        shares = [value for _, value in run.history.get("policy/truncated", ())]
        if words := cut_off(shares, run.config.get("grpo", {}).get("max_completion_length")):
            yield f"In {run.label} {words}"


def cut_off(shares: Sequence[float], limit: int | None) -> str:
    """What to say of a run whose policy often reached the longest completion; else nothing.

    ``shares``: of its completions, by step.
    """
    share = sum(shares) / len(shares) if shares else 0.0
    if share < CUT_OFF:
        return ""
    of = "" if limit is None else f" {limit}"
    return (
        f"{100 * share:.0f} % of the policy's completions were cut off at "
        f"grpo.max_completion_length{of} and so hardly ever right: what needs more tokens is "
        "unlearned. Set it higher."
    )


def _start(run: RunData) -> dict[str, str]:
    """Sample id -> what the run's policy answered before training; empty where not measured."""
    return {
        record.sample_id: record.actions[0].completion
        for name in run.evaluations
        for record in run.records(name, 0, "greedy")
    }


def _unlike(runs: Sequence[RunData]) -> list[str]:
    """Sets on which evaluations stand in one row that were made under other conditions.

    Training runs among themselves are compared by their whole configs.
    """
    found = []
    for name in sets_of(runs):
        holders = [run for run in runs if name in run.evaluations]
        if not any(run.is_evaluation for run in holders):
            continue
        conditions = [_conditions(run, name) for run in holders]
        values = {
            key: {known[key] for known in conditions if key in known}
            for key in dict.fromkeys(key for known in conditions for key in known)
        }
        if all(_DATA in known for known in conditions) and len(values[_DATA]) == 1:
            values.pop("image size", None)  # the pixels are the same, however the size was given
        differing = [key for key, found_values in values.items() if len(found_values) > 1]
        if differing:
            labels = ", ".join(run.label for run in holders)
            found.append(
                f"On {name!r} {labels} were measured under different conditions "
                f"({'; '.join(differing)}): they cannot be compared as they stand."
            )
    return found


def _conditions(run: RunData, name: str) -> dict[str, Any]:
    """What a set was measured under, as far as it is recorded and others record it alike.

    The data hash of an evaluation covers pixels, that of a training run does not: of the latter
    the image size alone is known.
    """
    tags, data = run.info.tags, run.config.get("data", {})
    settings = run.config.get("generation", {})
    if not run.is_evaluation:
        settings = {"temperature": run.config.get("evaluation", {}).get("temperature")}
    sampled = run.ends(name, "sampled") is not None
    found = {
        key.replace("_", " "): value
        for key, value in settings.items()
        if key not in _FREE_SETTINGS and (sampled or key not in _SAMPLED_ONLY)
    }
    found["prompts"] = tags.get("ekipl.prompts")
    found["code of the reward"] = tags.get("ekipl.code.reward")
    if run.is_evaluation:
        found[_DATA] = _data_hash(tags, name)
        found["instructed"] = run.about.get("job", {}).get("instructed")
    elif "instructed" in data:
        found["instructed"] = data["instructed"]
    if "image_size" in data:
        found["image size"] = data["image_size"] or "default"
    return {key: value for key, value in found.items() if value is not None}


def _data_hash(tags: Mapping[str, str], name: str) -> str | None:
    """The hash of a set's samples, also where the report told sets of one name apart."""
    prefix = "ekipl.data."
    known = [tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)]
    fitting = [label for label in known if name == label or name.startswith(f"{label} of ")]
    return tags[prefix + max(fitting, key=len)] if fitting else None


def _alone(runs: Sequence[RunData]) -> list[str]:
    """Sets that not all arms were measured on: they stand apart, and nothing compares them."""
    found = []
    for name in sets_of(runs):
        holders = [run.label for run in runs if name in run.evaluations]
        if len(holders) < len(runs):
            found.append(
                f"Set {name!r} was measured for {', '.join(holders)} only: the others saw other "
                "samples, or none."
            )
    return found


def _missing(runs: Sequence[RunData]) -> list[str]:
    """Actions that a source did not give, by run."""
    found = []
    for run in runs:
        cost = run.about.get("cost", {})
        if cost.get("missing"):
            found.append(
                f"{run.label}: {cost['missing']} of {cost['actions']} actions were not given by "
                "the source; its accuracy is over those that were."
            )
    return found


def _unscored(runs: Sequence[RunData]) -> Iterator[str]:
    """Answers at the end of which nobody knows whether they are right."""
    for run in runs:
        for name in run.evaluations:
            known = [
                reward.success
                for mode in MODES
                for record in run.at(name, "end", mode)
                for action, reward in zip(record.actions, record.rewards, strict=True)
                if action.finish_reason != MISSING
            ]
            if None in known:
                yield (
                    f"{run.label}: {known.count(None)} of {len(known)} answers on {name!r} could "
                    "not be scored; its accuracy is over the others."
                )


def seeds_note(runs: Sequence[RunData]) -> str:
    """How many seeds there are, and what that allows to say."""
    trained = [run for run in runs if not run.is_evaluation]
    arms = arms_of(trained)
    if not trained:
        return (
            "Evaluations of given models, nothing was trained here. The intervals are over test "
            "items and say nothing of how far a model trained with another seed would land."
        )
    if several_seeds(arms):
        count = "; ".join(f"{arm.label}: seeds {', '.join(map(str, arm.runs))}" for arm in arms)
        return (
            f"Several training runs per arm ({count}). The first table is the comparison: paired "
            "by seed, with t intervals over seeds. Tables that begin with “Over seeds” tell of "
            "all seeds; the others, the figures and the chains show single runs, with intervals "
            "over test items, which say nothing of how far another seed would land."
        )
    seeds = sorted({str(run.config.get("seed", "?")) for run in trained})
    if len(seeds) > 1:
        count = f"The runs have different seeds ({', '.join(seeds)}) and are shown one by one."
    else:
        count = f"One training run per arm (seed {seeds[0]}; number of seeds: 1)."
    return (
        f"{count} The intervals are over test items and say nothing of how far another seed would "
        "land. The spread over seeds is not known from one, and so neither is how many seeds a "
        "comparison needs. This page tells what happened in these runs; it makes no claim about "
        "the method."
    )
