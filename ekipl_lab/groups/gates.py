"""Which teacher to ask about which prompt: usefulness, schedule, budget, the policy's own result.

A gate for a teacher on a task is one of `GATES`, as `ekipl teach report` recommends it
(`ekipl_lab.evaluation.usefulness`):

    always        ask
    if_unsolved   ask only where fewer than ``min_successes`` of the policy's actions succeeded
    if_no_spread  ask only where the policy's own rewards are all equal: nothing to learn from
    off           never ask: it solves nothing there that the policy does not

``{"gpt": {"counting": "off", "counting/remove_two": "if_unsolved", "*": "always"}}`` says so by
task, by task/family, or for all; the most specific entry counts, for teacher ``"*"`` where a
teacher has none of its own; without an entry a teacher is always asked. Anything else that
decides per prompt is a function (`GateOf`). A prompt that is not asked about is never paid for,
and is counted with its reason (`REASONS`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.groups.schedules import Schedules, rounded, scheduled
from ekipl_lab.types import Sample

GATES = ("always", "if_unsolved", "if_no_spread", "off")
#: Those that look at the policy's own result.
AFTER_POLICY = ("if_unsolved", "if_no_spread")
#: Why a teacher was not asked about a prompt, in the order looked for.
REASONS = ("budget", "usefulness", "schedule", "solved", "spread")
#: What a run may spend on teachers, as `diagnostics.GroupCosts` counts it.
BUDGETS = {"usd": "teacher_usd", "actions": "teacher_actions", "tokens": "teacher_tokens"}

#: The gate of a teacher for a sample: one of `GATES`.
GateOf = Callable[[str, Sample], str]
GateTable = Mapping[str, Mapping[str, str]]


def gate_of(table: GateTable) -> GateOf:
    """The gate that a table gives; see the module."""

    def gate(teacher: str, sample: Sample) -> str:
        for entries in (table.get(teacher, {}), table.get("*", {})):
            for where in (f"{sample.task}/{sample.family}", sample.task, "*"):
                if where in entries:
                    return entries[where]
        return "always"

    return gate


def read_gates(path: Path) -> dict[str, dict[str, str]]:
    """The gates in a JSON file: teacher -> task, task/family or * -> gate."""
    if not path.is_file():
        raise ConfigError(
            f"ekipl.teacher_gates: {path} does not exist; `ekipl teach report` makes it."
        )
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"ekipl.teacher_gates: {path} is not valid JSON: {error}.") from error
    if not isinstance(table, Mapping) or not all(isinstance(v, Mapping) for v in table.values()):
        raise ConfigError(f"ekipl.teacher_gates: {path} must hold teacher -> {{task: gate}}.")
    return {teacher: dict(entries) for teacher, entries in table.items()}


def spell_off(table: Any) -> Any:
    """The table with ``off`` where YAML read the bare word as false; ConfigError for true."""
    if not isinstance(table, Mapping):
        return table
    spelt = dict(table)
    for teacher, entries in table.items():
        if not isinstance(entries, Mapping):
            continue
        for where, gate in entries.items():
            if gate is True:
                raise ConfigError(
                    f"ekipl.teacher_gates.{teacher}.{where} is true (YAML reads on and yes so); "
                    f"a gate is one of {', '.join(GATES)}."
                )
        spelt[teacher] = {w: "off" if gate is False else gate for w, gate in entries.items()}
    return spelt


def check_table(table: GateTable) -> None:
    """ConfigError for a gate that does not exist."""
    for teacher, entries in table.items():
        for where, gate in entries.items():
            if gate not in GATES:
                raise unknown_name(f"gate of ekipl.teacher_gates.{teacher}.{where}", gate, GATES)


def needs_policy_result(table: GateTable) -> bool:
    """Whether a gate looks at the policy's result, so that asking ahead may buy for nothing."""
    return any(gate in AFTER_POLICY for entries in table.values() for gate in entries.values())


@dataclass(frozen=True)
class TeacherGates:
    """Decides for one run. ``budget`` limits by a name in `BUDGETS`; ``seed`` is the run's."""

    gate: GateOf
    schedules: Schedules = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)
    min_successes: int = 1
    seed: int = 0

    def actions(self, own: int, step: int) -> int:
        """How many actions to ask of a teacher whose own number is ``own``."""
        most = scheduled(self.schedules, "teacher_actions", step, own)
        return min(own, rounded(most))

    def closed(
        self,
        teacher: str,
        sample: Sample,
        *,
        successes: int,
        spread: bool = False,
        step: int,
        draw: int,
        spent: Mapping[str, float],
    ) -> str | None:
        """Why not to ask this teacher about this sample now (a name in `REASONS`), or None.

        ``successes`` of the policy's own actions, ``spread``: whether their rewards differ;
        ``spent`` so far, by the axes of `GroupCosts`.
        """
        if any(spent.get(BUDGETS[axis], 0.0) >= most for axis, most in self.budget.items()):
            return "budget"
        gate = self.gate(teacher, sample)
        if gate == "off":
            return "usefulness"
        share = scheduled(self.schedules, "teacher_share", step, 1.0)
        if _uniform(self.seed, draw, teacher, sample.id) >= share:
            return "schedule"
        if gate == "if_unsolved" and successes >= self.min_successes:
            return "solved"
        if gate == "if_no_spread" and spread:
            return "spread"
        return None


def _uniform(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone: the same on every rank and resume."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
