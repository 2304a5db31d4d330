"""Everything a report tells of a run, read from its store: records, curves, config, tags."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError, DataError, EKIPLError
from ekipl_lab.evaluation import read_records
from ekipl_lab.tracking import RunInfo
from ekipl_lab.types import EvalRecord, Sample

#: Metrics a report draws; all others stay in MLflow.
SHOWN = re.compile(
    r"(policy|kept|teacher/.+)/reward|teacher/.+/refused/\w+|share/.+/kept|groups/zero_\w+"
    r"|cost/\w+|seconds/step"
)
_STEP = re.compile(r"step-(\d+)\.parquet")
_WORDS = {"test": "in-domain", "test_ood": "out-of-domain"}


@dataclass(frozen=True, slots=True)
class RunData:
    """One arm of a report; ``evaluations`` maps set -> step -> records, steps rising."""

    info: RunInfo
    label: str
    config: Mapping[str, Any]
    history: Mapping[str, Sequence[tuple[int, float]]]
    evaluations: Mapping[str, Mapping[int, Sequence[EvalRecord]]]
    groups: Path | None

    @property
    def teachers(self) -> list[str]:
        """Ids of its teachers, sorted."""
        names = {name.split("/")[1] for name in self.history if name.startswith("share/")}
        return sorted(names - {"policy"})

    def records(self, name: str, step: int, mode: str) -> list[EvalRecord]:
        """Records of one set, step and mode; empty where that was not measured."""
        found = self.evaluations.get(name, {}).get(step, ())
        return [record for record in found if record.mode == mode]

    def ends(self, name: str, mode: str) -> tuple[int, int] | None:
        """First and last step at which a set was measured in a mode."""
        steps = [s for s in self.evaluations.get(name, {}) if self.records(name, s, mode)]
        return (min(steps), max(steps)) if steps else None

    @property
    def sampled_k(self) -> list[int]:
        """The k of pass@k that the run's config asks for."""
        ks = self.config.get("evaluation", {}).get("ks", (1, 4, 8, 16))
        return [int(k) for k in ks]


def gather_runs(run_ids: Sequence[str]) -> list[RunData]:
    """The runs, those without teachers first; without ids, the latest finished of each name.

    Ids may be cut short as long as they are unique. Raises DataError for unknown runs.
    """
    infos = [tracking.find_run(run_id) for run_id in run_ids] or latest_runs()
    names = [info.name for info in infos]
    runs = [
        _gather(info, info.name if names.count(info.name) == 1 else _numbered(info))
        for info in infos
    ]
    return sorted(runs, key=lambda run: bool(run.teachers))


def latest_runs() -> list[RunInfo]:
    """The latest finished run of each name in the experiment of the latest finished run."""
    finished = tracking.list_runs(status="FINISHED")
    if not finished:
        raise DataError(
            "There is no finished run to report; `make demo` or `ekipl train` makes one."
        )
    latest: dict[str, RunInfo] = {}
    for info in finished:
        if info.experiment == finished[0].experiment:
            latest.setdefault(info.name, info)
    return list(latest.values())


def set_title(run: RunData, name: str) -> str:
    """How a set is called on the page: its label, task and whether it is in-domain."""
    record = next(iter(next(iter(run.evaluations[name].values()))))
    word = _WORDS.get(record.split, record.split)
    return f"{name}: {record.task}, {word}"


def sets_of(runs: Sequence[RunData]) -> list[str]:
    """Sets that any of the runs was measured on, in the first one's order."""
    return list(dict.fromkeys(name for run in runs for name in run.evaluations))


@lru_cache(maxsize=4096)
def rebuild(sample_id: str, image_size: int | None = None) -> Sample | None:
    """The sample of an id, images and all; None where its benchmark cannot rebuild it."""
    if not sample_id.startswith("mini/"):
        return None
    from ekipl_lab.benchmarks import load_sample

    try:
        return load_sample(sample_id, image_size)
    except EKIPLError:
        return None


def _gather(info: RunInfo, label: str) -> RunData:
    wanted = [name for name in info.metrics if SHOWN.fullmatch(name)]
    try:
        config = tracking.read_config(info.run_id)
    except DataError:
        config = {}
    return RunData(
        info=info,
        label=label,
        config=config,
        history=tracking.metric_history(info.run_id, wanted),
        evaluations=_evaluations(info),
        groups=_groups(info),
    )


def _evaluations(run: RunInfo) -> dict[str, dict[int, list[EvalRecord]]]:
    """``evaluation/<set>/step-<n>.parquet`` among the artifacts."""
    found: dict[str, dict[int, list[EvalRecord]]] = {}
    for name in tracking.list_artifacts(run, "evaluation"):
        path = Path(name)
        match = _STEP.fullmatch(path.name)
        if match:
            records = read_records(tracking.run_artifact(run, name))
            if records:
                found.setdefault(path.parent.name, {})[int(match[1])] = records
    return {name: dict(sorted(steps.items())) for name, steps in found.items()}


def _groups(run: RunInfo) -> Path | None:
    try:
        return tracking.run_artifact(run, "groups")
    except DataError:
        return None


def _numbered(info: RunInfo) -> str:
    return f"{info.name} {info.run_id[:6]}"


def check_arms(runs: Sequence[RunData]) -> None:
    """ConfigError where runs share nothing that could be compared or shown."""
    if not sets_of(runs):
        names = ", ".join(run.label for run in runs)
        raise ConfigError(
            f"No evaluation was recorded by {names}; set evaluation.at_start and at_end in the "
            "config and train again."
        )
