"""The lab's results as JSON, which keeps every line, and as Markdown, which shows the main ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ekipl_lab.biaslab.measure import Measured
from ekipl_lab.biaslab.study import (
    SELECTIONS,
    SHOWN,
    TEACHERS,
    Anchor,
    Check,
    Condition,
    Estimator,
    Line,
    success,
)
from ekipl_lab.biaslab.toy import REWARDS, STATES
from ekipl_lab.errors import DataError
from ekipl_lab.tables import pipe_table

COMMAND = "python -m ekipl_lab.biaslab --out results/bias_lab"


@dataclass(frozen=True)
class Results:
    """All that one run of the lab found."""

    anchors: Sequence[Anchor]
    checks: Sequence[Check]
    lines: Sequence[Line]

    def find(self, condition: Condition, estimator: Estimator) -> Measured:
        """One line's numbers."""
        for line in self.lines:
            if line.condition == condition and line.estimator == estimator:
                return line.measured
        raise DataError(f"The bias lab has no line for {condition} with {tuple(estimator)}.")


# ---------------------------------------------------------------------------------------- JSON


def to_json(results: Results) -> str:
    """``values[condition][estimator]`` holds the numbers named in ``columns``, 3 digits each."""
    conditions = list(dict.fromkeys(line.condition for line in results.lines))
    estimators = list(dict.fromkeys(line.estimator for line in results.lines))
    head = {
        "command": COMMAND,
        "group": {"G": SELECTIONS[0].group_size, "teacher_actions": SELECTIONS[0].teacher_actions},
        "success": {state: success(state) for state in STATES},
        "anchors": [asdict(anchor) for anchor in results.anchors],
        "checks": [asdict(check) for check in results.checks],
        "conditions": [asdict(condition) for condition in conditions],
        "columns": [field.name for field in fields(Measured)],
        "estimators": estimators,
    }
    found = {(line.condition, line.estimator): line.measured for line in results.lines}
    blocks = (
        ",\n".join(_values(found[condition, estimator]) for estimator in estimators)
        for condition in conditions
    )
    text = ",\n".join(f" {json.dumps(k)}: {json.dumps(_rounded(v, 6))}" for k, v in head.items())
    return f'{{\n{text},\n "values": [[\n{"],[".join(blocks)}\n]]\n}}\n'


def from_json(text: str) -> Results:
    """What `to_json` wrote."""
    raw = json.loads(text)
    checks = [Check(**(c | {"condition": Condition(**c["condition"])})) for c in raw["checks"]]
    lines = []
    for condition, block in zip(raw["conditions"], raw["values"], strict=True):
        for names, numbers in zip(raw["estimators"], block, strict=True):
            found = Measured(**dict(zip(raw["columns"], numbers, strict=True)))
            lines.append(Line(Condition(**condition), Estimator(*names), found))
    return Results([Anchor(**anchor) for anchor in raw["anchors"]], checks, lines)


def _values(found: Measured) -> str:
    return json.dumps(_rounded(list(asdict(found).values()), 3), separators=(",", ":"))


def _rounded(value: Any, digits: int) -> Any:
    """Significant digits; rounding errors of 0 become 0."""
    if isinstance(value, dict):
        return {key: _rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item, digits) for item in value]
    if isinstance(value, float):
        short = float(f"{value:.{digits}g}")
        return 0.0 if abs(short) < 1e-12 else short
    return value


# ------------------------------------------------------------------------------------ Markdown


def to_markdown(results: Results) -> str:
    """Anchors, checks by drawing, and the main slices of the grid."""
    condition = (
        f"{SHOWN.reward} reward, policy right {success(SHOWN.state):.0%} of the time, teacher "
        f"{SHOWN.teacher:.0%}, ratio 1"
    )
    parts = [
        f"Made by `{COMMAND}`; all {len(results.lines)} lines are in `table.json` beside this.",
        "### Anchors: numbers known beforehand\n\n" + _anchors(results.anchors),
        "### The enumeration against groups drawn at random\n\n" + _checks(results.checks),
        f"### Every selection and weighting\n\nCondition: {condition}. Baseline and spread of "
        "the kept group.\n\n" + _grid(results, SHOWN),
        "### The baseline and the spread\n\n`top_g` with `policy_ratio`, same condition.\n\n"
        + _baselines(results),
        "### Policy, teacher and reward\n\nCosine / scale / success scale of the expected "
        "update; weight `policy_ratio`, baseline and spread of the kept group, ratio 1.\n\n"
        + _states(results),
        "### The second update of a generation\n\nThe same condition as above, but the policy has "
        "moved since it sampled (pi is not pi_old), and the clip acts.\n\n"
        + _grid(results, Condition(SHOWN.reward, SHOWN.state, SHOWN.teacher, "second")),
    ]
    return "\n\n".join(parts) + "\n"


def _anchors(anchors: Iterable[Anchor]) -> str:
    rows = [
        [a.claim, f"{a.expected:g}", f"{a.found:.6g}", "yes" if a.holds else "**no**"]
        for a in anchors
    ]
    return pipe_table(["estimator and number", "known", "found", "agrees"], rows)


def _checks(checks: Iterable[Check]) -> str:
    head = ["selection", "weighting", "reward", "update", "groups", "rms z", "max z", "variance"]
    rows = []
    for c in checks:
        names = [c.selection, c.weighting, c.condition.reward, c.condition.update, str(c.groups)]
        variance = f"{c.drawn_variance:.4f}, exact {c.variance:.4f}"
        rows.append([*names, f"{c.rms_z:.2f}", f"{c.max_z:.2f}", variance])
    return pipe_table(head, rows)


def _grid(results: Results, condition: Condition) -> str:
    rows = []
    for line in results.lines:
        selection, weight, *advantage = line.estimator
        if line.condition == condition and advantage == ["kept", "group"]:
            weight = "-" if selection == "policy_only" else weight
            rows.append([selection, weight, *_numbers(line.measured)])
    return pipe_table(["selection", "weight", *_NUMBERS], rows)


def _baselines(results: Results) -> str:
    rows = [
        [*line.estimator[2:], *_numbers(line.measured)]
        for line in results.lines
        if line.condition == SHOWN and line.estimator[:2] == ("top_g", "policy_ratio")
    ]
    return pipe_table(["baseline", "spread", *_NUMBERS], rows)


def _states(results: Results) -> str:
    names = ("policy_only", "top_g", "max_variance", "quota(choose=first)", "on_failure")
    rows = []
    for reward, state, teacher in itertools.product(REWARDS, STATES, TEACHERS):
        at = Condition(reward, state, teacher)
        found = [results.find(at, Estimator(name, "policy_ratio")) for name in names]
        cells = [f"{m.cosine:.2f} / {m.scale:.2f} / {m.success_scale:.2f}" for m in found]
        rows.append([reward, state, f"{teacher:.0%}", *cells])
    return pipe_table(["reward", "policy", "teacher", *(f"`{name}`" for name in names)], rows)


def _own_rows(m: Measured) -> str:
    return "-" if m.policy_scale == 0 else f"{m.policy_cosine:.2f} / {m.policy_scale:.2f}"


#: Column -> how it is written.
_NUMBERS: dict[str, Callable[[Measured], str]] = {
    "cosine": lambda m: f"{m.cosine:.2f}",
    "scale": lambda m: f"{m.scale:.2f}",
    "bias": lambda m: f"{m.bias:.2f}",
    "policy rows: cosine / scale": _own_rows,
    "variance": lambda m: f"{m.variance:.3f}",
    "noise": lambda m: "-" if m.noise is None else f"{m.noise:.1f}",
    "ESS": lambda m: f"{m.ess:.2f}",
    "idle": lambda m: f"{m.idle:.2f}",
    "zero spread": lambda m: f"{m.zero_spread:.2f}",
    "teacher kept": lambda m: f"{m.teacher_kept:.2f}",
}


def _numbers(found: Measured) -> list[str]:
    return [write(found) for write in _NUMBERS.values()]
