"""The lab's results as JSON, which keeps every line, and as Markdown, which shows the main ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
    Line,
    success,
)
from ekipl_lab.biaslab.toy import STATES
from ekipl_lab.errors import DataError
from ekipl_lab.files import put_between

COMMAND = "python -m ekipl_lab.biaslab --out results/bias_lab"
BEGIN, END = "<!-- bias lab: generated, do not edit -->", "<!-- bias lab: end -->"

#: (selection, weighting, baseline, spread)
Estimator = tuple[str, str, str, str]


@dataclass(frozen=True)
class Results:
    """All that one run of the lab found."""

    anchors: Sequence[Anchor]
    checks: Sequence[Check]
    lines: Sequence[Line]

    def find(self, condition: Condition, estimator: Estimator) -> Measured:
        """One line's numbers."""
        for line in self.lines:
            if line.condition == condition and estimator_of(line) == estimator:
                return line.measured
        raise DataError(f"The bias lab has no line for {condition} with {estimator}.")


def estimator_of(line: Line) -> Estimator:
    """The names that tell a line from the others of its condition."""
    return line.selection, line.weighting, line.baseline, line.scale_rewards


# ---------------------------------------------------------------------------------------- JSON


def to_json(results: Results) -> str:
    """``values[condition][estimator]`` holds the numbers named in ``columns``, 3 digits each."""
    conditions = list(dict.fromkeys(line.condition for line in results.lines))
    estimators = list(dict.fromkeys(estimator_of(line) for line in results.lines))
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
    found = {(line.condition, estimator_of(line)): line.measured for line in results.lines}
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
            selection, weighting, baseline, spread = names
            found = Measured(**dict(zip(raw["columns"], numbers, strict=True)))
            lines.append(
                Line(Condition(**condition), selection, weighting, baseline, spread, found)
            )
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
    parts = [
        f"Made by `{COMMAND}`; all {len(results.lines)} lines are in `table.json` beside this.",
        "### Anchors: numbers known beforehand\n\n" + _anchors(results.anchors),
        "### The enumeration against groups drawn at random\n\n" + _checks(results.checks),
        f"### Every selection and weighting\n\nCondition: {_told(SHOWN)}. Baseline and spread of "
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


def _told(condition: Condition) -> str:
    return (
        f"{condition.reward} reward, policy right {success(condition.state):.0%} of the time, "
        f"teacher {condition.teacher:.0%}, ratio 1"
    )


def _anchors(anchors: Iterable[Anchor]) -> str:
    rows = [[a.claim, f"{a.expected:g}", f"{a.found:.6g}", _yes(a.holds)] for a in anchors]
    return _table(["estimator and number", "known", "found", "agrees"], rows)


def _checks(checks: Iterable[Check]) -> str:
    head = ["selection", "weighting", "reward", "update", "groups", "rms z", "max z", "variance"]
    rows = [
        [
            c.selection,
            c.weighting,
            c.condition.reward,
            c.condition.update,
            str(c.groups),
            f"{c.rms_z:.2f}",
            f"{c.max_z:.2f}",
            f"{c.drawn_variance:.4f}, exact {c.variance:.4f}",
        ]
        for c in checks
    ]
    return _table(head, rows)


def _grid(results: Results, condition: Condition) -> str:
    lines = [
        line
        for line in results.lines
        if line.condition == condition and estimator_of(line)[2:] == ("kept", "group")
    ]
    rows = [
        [
            line.selection,
            "-" if line.selection == "policy_only" else line.weighting,
            *_numbers(line.measured),
        ]
        for line in lines
    ]
    return _table(["selection", "weight", *_NUMBERS], rows)


def _baselines(results: Results) -> str:
    lines = [
        line
        for line in results.lines
        if line.condition == SHOWN and estimator_of(line)[:2] == ("top_g", "policy_ratio")
    ]
    rows = [[line.baseline, line.scale_rewards, *_numbers(line.measured)] for line in lines]
    return _table(["baseline", "spread", *_NUMBERS], rows)


def _states(results: Results) -> str:
    names = ("policy_only", "top_g", "max_variance", "quota(choose=first)", "on_failure")
    rows = []
    for reward in ("binary", "with format"):
        for state in STATES:
            for teacher in TEACHERS:
                at = Condition(reward, state, teacher)
                found = [results.find(at, (n, "policy_ratio", "kept", "group")) for n in names]
                cells = [_three(m) for m in found]
                rows.append([reward, state, f"{teacher:.0%}", *cells])
    return _table(["reward", "policy", "teacher", *(f"`{name}`" for name in names)], rows)


_NUMBERS = (
    "cosine",
    "scale",
    "bias",
    "policy rows: cosine / scale",
    "variance",
    "noise",
    "ESS",
    "idle",
    "zero spread",
    "teacher kept",
)


def _numbers(m: Measured) -> list[str]:
    own = "-" if m.policy_scale == 0 else f"{m.policy_cosine:.2f} / {m.policy_scale:.2f}"
    noise = "-" if m.noise is None else f"{m.noise:.1f}"
    shares = [f"{v:.2f}" for v in (m.ess, m.idle, m.zero_spread, m.teacher_kept)]
    return [
        f"{m.cosine:.2f}",
        f"{m.scale:.2f}",
        f"{m.bias:.2f}",
        own,
        f"{m.variance:.3f}",
        noise,
        *shares,
    ]


def _three(m: Measured) -> str:
    return f"{m.cosine:.2f} / {m.scale:.2f} / {m.success_scale:.2f}"


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put_into(document: str, section: str) -> str:
    """The document with ``section`` between its markers.

    Raises DataError if it has no markers.
    """
    return put_between(document, BEGIN, END, f"\n{section}")
