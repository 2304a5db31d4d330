"""Where the runs came from: what they cost, and what they share and do not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ekipl_lab.plots.metrics import METRICS
from ekipl_lab.report.figures import cost_by_step
from ekipl_lab.report.gather import RunData
from ekipl_lab.tables import DASH, Table, TableCell, row

#: What an evaluation that is a folder of `ekipl eval` took.
_EVALUATION_COSTS = {
    "actions": "actions evaluated",
    "completion_tokens": "tokens written in the evaluation",
    "usd": "money paid in the evaluation (USD)",
}


def costs(runs: Sequence[RunData]) -> Table:
    """Total cost on every axis, one column per arm."""
    rows = []
    for axis, metric in METRICS.items():
        if not (metric.title and metric.name.startswith(("cost/", "seconds/"))):
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
    totals = policy_completions(trained)
    if not totals or len(totals) < len(trained):
        return ""
    if len(set(totals)) > 1:
        return "Arms sampled different numbers of policy completions: compare them at equal cost."
    return "Arms share their policy completions; teacher actions come on top."


def policy_completions(runs: Sequence[RunData]) -> list[float]:
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
