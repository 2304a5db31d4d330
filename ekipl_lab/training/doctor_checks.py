"""The group doctor while training runs: every n steps, over the groups of those steps.

Its words go to whoever watches (a ``message`` event) and to MLflow as
``group_doctor/step-000050.txt``, its counts as ``doctor/zero_advantage`` and ``doctor/<cause>``,
shares of the window's groups (of a teacher's, ``doctor/<cause>/<teacher>``). It reads the group
records, so that a resumed run says the same as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.groups.doctor import CAUSES, Examination, examine_recorded
from ekipl_lab.records import load_groups, read_groups
from ekipl_lab.tracking import RunLog

#: After so many steps a word is said if at least this share of the groups taught nothing.
EARLY, NEARLY_ALL = 5, 0.9


class DoctorChecks:
    """Examines the last ``every`` steps when they are done, and what is left at the last step."""

    def __init__(
        self, every: int, steps: int, log: RunLog, say: Callable[[int, str], None]
    ) -> None:
        self._every, self._steps, self._log, self._say = every, steps, log, say

    def due(self, step: int) -> bool:
        """Whether to examine after ``step``."""
        return self._every > 0 and (step % self._every == 0 or step == self._steps)

    def look_early(self, step: int, history: Sequence[Mapping[str, Any]]) -> None:
        """After the first steps: say so if nearly all groups taught nothing. Nothing is logged."""
        if step != EARLY or not self._every > EARLY:
            return
        found = _examine(self._log.folder("groups"), 1, step, history)
        if found is not None and found.zero_advantage >= NEARLY_ALL * found.groups:
            self._say(step, f"Already after {step} steps: {found.text()}")

    def run(self, step: int, history: Sequence[Mapping[str, Any]]) -> Examination | None:
        """Examine the steps since the last time; ``history`` holds the trainer's log entries.

        None where no groups were generated in them.
        """
        first = (step - 1) // self._every * self._every + 1
        found = _examine(self._log.folder("groups"), first, step, history)
        if found is None:
            return None
        text = f"Steps {first} to {step}: {found.text()}"
        self._log.log_text(text + "\n", f"group_doctor/step-{step:06d}.txt")
        self._log.log_metrics(shares(found), step)
        self._say(step, text)
        return found


def shares(found: Examination) -> dict[str, float]:
    """``doctor/...`` metrics; every cause of the policy's is named, those not found with 0."""
    metrics = {f"doctor/{cause}": 0.0 for cause in CAUSES}
    metrics["doctor/zero_advantage"] = found.zero_advantage / found.groups
    for finding in found.findings:
        where = f"/{finding.source}" if finding.source else ""
        metrics[f"doctor/{finding.cause}{where}"] = finding.share
    return metrics


def _examine(
    folder: Path, first: int, last: int, history: Sequence[Mapping[str, Any]]
) -> Examination | None:
    column = read_groups(folder, steps=range(first, last + 1), columns=["step"])["step"]
    steps = sorted(set(column.to_pylist()))
    groups = [group for step in steps for group in load_groups(folder, step)]
    metrics = [
        {name: value for name, value in entry.items() if name.startswith("teacher/")}
        for entry in history
        if first <= int(entry.get("step", 0)) <= last
    ]
    return examine_recorded(groups, metrics) if groups else None
