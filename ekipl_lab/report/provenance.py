"""Where the runs came from: what they share, what differs, and what that allows to conclude."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ekipl_lab.plots.metrics import METRICS
from ekipl_lab.report.arms import arms_of, several_seeds
from ekipl_lab.report.figures import cost_by_step
from ekipl_lab.report.gather import RunData, sets_of
from ekipl_lab.tables import DASH, Table, TableCell, row

#: What an evaluation that is a folder of `ekipl eval` took.
_EVALUATION_COSTS = {
    "actions": "actions evaluated",
    "completion_tokens": "tokens written in the evaluation",
    "usd": "money paid in the evaluation (USD)",
}
#: Generation settings in which comparable evaluations may differ, and those of sampled ones only.
_FREE_SETTINGS = ("seed", "num_samples")
_SAMPLED_ONLY = ("temperature", "top_p", "top_k")
#: What the data hash of an evaluation covers.
_DATA = "questions, images or answers"
#: What arms must share to be compared, by dotted config key.
_MUST_SHARE = ("policy", "data", "reward", "evaluation")


def costs(runs: Sequence[RunData]) -> Table:
    """Total cost on every axis, one column per arm."""
    rows = []
    for axis, metric in METRICS.items():
        if not metric.name.startswith(("cost/", "seconds/")):
            continue
        totals = [list(cost_by_step(run, axis).values())[-1:] for run in runs]
        if any(total != [0.0] for total in totals if total):
            shown = [_amount(axis, total[0]) if total else DASH for total in totals]
            rows.append(row(metric.title, *map(TableCell, shown)))
    for key, title in _EVALUATION_COSTS.items():
        amounts = [run.about.get("cost", {}).get(key) for run in runs]
        if any(amounts):
            shown = [DASH if a is None else _usd(a) if key == "usd" else f"{a:,}" for a in amounts]
            rows.append(row(title, *map(TableCell, shown)))
    return Table(
        "What it cost",
        ["over the whole training or evaluation", *(run.label for run in runs)],
        rows,
        _completions_note(runs),
    )


def _completions_note(runs: Sequence[RunData]) -> str:
    """What the costs of trained arms have in common; empty where that was not recorded of all."""
    trained = [run for run in runs if not run.is_evaluation]
    totals = _policy_completions(trained)
    if not totals or len(totals) < len(trained):
        return ""
    if len(set(totals)) > 1:
        return "Arms sampled different numbers of policy completions: compare them at equal cost."
    return "Arms share their policy completions; teacher actions come on top."


def _policy_completions(runs: Sequence[RunData]) -> list[float]:
    """How many completions were sampled from the policy, of the runs that counted them."""
    totals = [list(cost_by_step(run, "policy_completions").values())[-1:] for run in runs]
    return [value for total in totals for value in total]


def _amount(axis: str, value: float) -> str:
    return _usd(value) if axis.endswith("_usd") else f"{value:,.0f}"


def _usd(value: float) -> str:
    """Cents, and below a dollar their hundredths: a tiny run costs less than one."""
    return f"{value:,.2f}" if value == 0 or value >= 1 else f"{value:.4f}"


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys; a list of plain values stays one value."""
    if isinstance(value, Mapping):
        pairs = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        pairs = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return {prefix.rstrip("."): json.dumps(value, ensure_ascii=False)}
    found: dict[str, str] = {}
    for key, inner in pairs:
        found |= flat(inner, f"{prefix}{key}.")
    return found


def config_difference(runs: Sequence[RunData]) -> Table:
    """Settings in which the arms differ."""
    settings = [flat(run.config) for run in runs]
    keys = sorted({key for flattened in settings for key in flattened} - {""})
    differing = [key for key in keys if len({s.get(key) for s in settings}) > 1]
    return _by_run("Settings that differ", "setting", runs, settings, differing)


def _by_run(
    title: str,
    column: str,
    runs: Sequence[RunData],
    facts: Sequence[Mapping[str, str]],
    names: Iterable[str],
) -> Table:
    """One row for each name, with what every run says of it."""
    rows = [row(name, *(fact.get(name, DASH) for fact in facts)) for name in names]
    return Table(title, [column, *(run.label for run in runs)], rows)


def whole_config(run: RunData) -> list[tuple[str, str]]:
    """Every setting of a run."""
    return sorted(flat(run.config).items())


def fingerprints(runs: Sequence[RunData]) -> Table:
    """Ids, revision, data and prompt fingerprints, versions, times."""
    facts = [_facts(run) for run in runs]
    names = dict.fromkeys(name for fact in facts for name in fact)
    return _by_run("Fingerprints", "", runs, facts, names)


def _facts(run: RunData) -> dict[str, str]:
    tags, info = run.info.tags, run.info
    revision = tags.get("ekipl.git_revision", DASH)[:12]
    if tags.get("ekipl.git_dirty") == "true":
        revision += ", with uncommitted changes"
    data = {
        f"data: {name.removeprefix('ekipl.data.')}": value
        for name, value in sorted(tags.items())
        if name.startswith("ekipl.data.")
    }
    seconds = (info.end or info.start) - info.start
    return {
        "run": info.run_id,
        "experiment": info.experiment,
        "status": info.status,
        "started": f"{datetime.fromtimestamp(info.start, UTC):%Y-%m-%d %H:%M} UTC",
        "took": f"{seconds / 60:.1f} min" + (", resumed" if "ekipl.resumes" in tags else ""),
        "seed": str(run.config.get("seed", DASH)),
        "revision": revision,
        "config": tags.get("ekipl.config_hash", DASH),
        "prompts": tags.get("ekipl.prompts", DASH),
        **data,
    }


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
    found += [*_missing(runs), *_alone(runs), *_unlike(runs)]
    starts = [start for run in trained if (start := _start(run))]
    if any(start[i] != starts[0].get(i, start[i]) for start in starts[1:] for i in start):
        found.append("The arms did not answer alike at the start: they began from other policies.")
    if len(set(_policy_completions(runs))) > 1:
        found.append("The arms sampled different numbers of policy completions.")
    return found


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
