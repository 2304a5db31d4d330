"""Everything a report shows of a run, read from its store: records, curves, config, tags."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError, DataError, EKIPLError, MissingData
from ekipl_lab.evaluation import read_records
from ekipl_lab.evaluation.folder import SUMMARY, no_summary, read_summary
from ekipl_lab.plots.metrics import in_report
from ekipl_lab.tracking import RunInfo
from ekipl_lab.types import EvalRecord, Sample

_STEP = re.compile(r"step-(\d+)\.parquet")
_WORDS = {"test": "in-domain", "test_ood": "out-of-domain"}
#: Settings of an evaluation that stand for the ``data`` of its config.
_DATA = ("benchmark", "families", "limit", "seed", "image_size")

When = Literal["start", "end"]
Evaluations = Mapping[str, Mapping[int, Sequence[EvalRecord]]]


@dataclass(frozen=True, slots=True)
class RunData:
    """One run of a report; ``evaluations`` maps set -> step -> records, steps rising.

    For a folder of `ekipl eval` step 0 is the start (``--against``) and step 1 what was evaluated;
    ``controls`` are its blind controls, ``about`` its ``evaluation.json``. ``memo`` keeps what
    several parts of a page work out from it.
    """

    info: RunInfo
    label: str
    config: Mapping[str, Any]
    history: Mapping[str, Sequence[tuple[int, float]]]
    evaluations: Evaluations
    groups: Path | None
    controls: Mapping[str, Sequence[EvalRecord]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_evaluation(self) -> bool:
        """Whether this is a folder of `ekipl eval`, not a training run."""
        return bool(self.about)

    @property
    def teachers(self) -> list[str]:
        """Ids of its teachers, sorted."""
        names = {name.split("/")[1] for name in self.history if name.startswith("share/")}
        return sorted(names - {"policy"})

    @property
    def asked(self) -> list[str]:
        """Ids of the teachers in its config, as of supervised steps, which record no groups."""
        return [str(spec["id"]) for spec in self.config.get("teachers") or ()]

    def records(self, name: str, step: int, mode: str) -> list[EvalRecord]:
        """Records of one set, step and mode; empty where that was not measured."""
        found = self.evaluations.get(name, {}).get(step, ())
        return [record for record in found if record.mode == mode]

    def ends(self, name: str, mode: str) -> tuple[int, int] | None:
        """First and last step at which a set was measured in a mode."""
        steps = [s for s in self.evaluations.get(name, {}) if self.records(name, s, mode)]
        return (min(steps), max(steps)) if steps else None

    def at(self, name: str, when: When, mode: str) -> list[EvalRecord]:
        """Records of the start (step 0 of training, or ``--against``) or of the last step."""
        ends = self.ends(name, mode)
        return self.records(name, ends[1] if ends and when == "end" else 0, mode)

    def last(self) -> list[EvalRecord]:
        """The records of every set at its last step."""
        return [r for steps in self.evaluations.values() for r in steps[max(steps)]]

    @property
    def sampled_k(self) -> list[int]:
        """The k of pass@k that the run's config asks for."""
        ks = self.config.get("evaluation", {}).get("ks", (1, 4, 8, 16))
        return [int(k) for k in ks]


def gather_runs(run_ids: Sequence[str]) -> list[RunData]:
    """The runs, those without teachers first; without ids, those that were last run together.

    Ids may be cut short as long as they are unique; the path of a folder that `ekipl eval` wrote
    stands for that evaluation. What is given twice is read once, and no two labels are equal.
    Raises DataError for unknown runs.
    """
    folders = [Path(name) for name in run_ids if (Path(name) / SUMMARY).is_file()]
    infos = [tracking.find_run(name) for name in run_ids if Path(name) not in folders]
    infos = infos if infos or folders else latest_runs()
    runs = [_gather(info) for info in {info.run_id: info for info in infos}.values()]
    runs.sort(key=lambda run: bool(run.teachers or run.asked))
    places: dict[Path, Path] = {}
    for folder in folders:
        places.setdefault(folder.resolve(), folder)
    return sets_apart(_labels_apart([*runs, *map(_read_folder, places.values())]))


def _gather(info: RunInfo) -> RunData:
    try:
        config = tracking.read_config(info.run_id)
    except MissingData:
        config = {}
    try:
        groups = tracking.run_artifact(info, "groups")
    except MissingData:
        groups = None
    history = tracking.metric_history(info.run_id, [n for n in info.metrics if in_report(n)])
    return RunData(info, info.name, config, history, _evaluations(info), groups)


def _evaluations(run: RunInfo) -> dict[str, dict[int, list[EvalRecord]]]:
    """``evaluation/<set>/step-<n>.parquet`` among the artifacts."""
    found: dict[str, dict[int, list[EvalRecord]]] = {}
    for name in tracking.list_artifacts(run, "evaluation"):
        path = Path(name)
        match = _STEP.fullmatch(path.name)
        if match and (records := read_records(tracking.run_artifact(run, name))):
            found.setdefault(path.parent.name, {})[int(match[1])] = records
    return {name: dict(sorted(steps.items())) for name, steps in found.items()}


def _read_folder(folder: Path) -> RunData:
    try:
        return _from_folder(folder)
    except KeyError as error:
        raise no_summary(folder, str(error.args[0])) from error


def _from_folder(folder: Path) -> RunData:
    """An evaluation as an arm."""
    about = read_summary(folder)
    job, source = about["job"], about["source"]
    found: dict[str, dict[int, list[EvalRecord]]] = {}
    for step, name in enumerate(("start.parquet", "records.parquet")):
        for record in read_records(folder / name) if (folder / name).is_file() else ():
            label = f"{record.task}/{record.split}" if len(job["tasks"]) > 1 else record.split
            found.setdefault(label, {}).setdefault(step, []).append(record)
    places = {"task": ", ".join(job["tasks"]), "split": ", ".join(job["splits"])}
    config = {
        "seed": job["seed"],
        "source": {key: source[key] for key in ("kind", "name", "key")},
        "data": {key: job[key] for key in _DATA} | places,
        "reward": {"scorer": job["scorer"]},
        "generation": {**job["params"], "num_samples": job["num_samples"]},
        "evaluation": {"ks": job["ks"]},
    }
    tags = {f"ekipl.data.{label}": part["hash"] for label, part in about["data"].items()}
    tags |= {"ekipl.prompts": about["prompts"], "ekipl.config_hash": about["id"]}
    tags |= {"ekipl.git_revision": about.get("revision") or ""}
    tags |= {"ekipl.code.reward": code} if (code := about.get("scorer_code")) else {}
    written = (folder / SUMMARY).stat().st_mtime
    begun = written - float(about.get("seconds", 0))
    info = RunInfo(
        str(folder), source["name"], "evaluation", "FINISHED", begun, written, {}, tags, {}, ""
    )
    names = {path.stem.removeprefix("control-"): path for path in folder.glob("control-*.parquet")}
    controls = {name: read_records(path) for name, path in sorted(names.items())}
    return RunData(info, source["name"], config, {}, found, None, controls, about)


def sets_apart(runs: Sequence[RunData]) -> list[RunData]:
    """The runs, with other names for sets of one name that hold other samples in other runs.

    What was measured on other samples must not stand in one row. Runs that share their samples
    keep a name in common: the first of them is named in it.
    """
    renamed = [dict(run.evaluations) for run in runs]
    for name in sets_of(runs):
        firsts: dict[frozenset[str], str] = {}
        for run in runs:
            if name in run.evaluations:
                firsts.setdefault(_samples(run, name), run.label)
        for run, sets in zip(runs, renamed, strict=True):
            if len(firsts) > 1 and name in sets:
                sets[f"{name} of {firsts[_samples(run, name)]}"] = sets.pop(name)
    return [
        replace(run, evaluations=sets) if sets.keys() != run.evaluations.keys() else run
        for run, sets in zip(runs, renamed, strict=True)
    ]


def _samples(run: RunData, name: str) -> frozenset[str]:
    steps = run.evaluations[name].values()
    return frozenset(record.sample_id for records in steps for record in records)


def _labels_apart(runs: Sequence[RunData]) -> list[RunData]:
    """The runs; equal labels with the id, cut short, or the folder beside them."""
    labels = [run.label for run in runs]
    apart = [run if labels.count(run.label) == 1 else _numbered(run) for run in runs]
    if len({run.label for run in apart}) == len(apart):
        return apart
    return [replace(run, label=f"{run.label} ({run.info.run_id})") for run in runs]


def _numbered(run: RunData) -> RunData:
    place = f"({run.info.run_id})" if run.is_evaluation else run.info.run_id[:6]
    return replace(run, label=f"{run.label} {place}")


def latest_runs() -> list[RunInfo]:
    """What was last run together (`tracking.run_together`): the latest finished of each name.

    Runs in which nothing was evaluated have nothing to report and are passed over.
    """
    finished = [
        info
        for info in tracking.list_runs(status="FINISHED")
        if tracking.list_artifacts(info, "evaluation")
    ]
    if not finished:
        raise DataError(
            "There is no finished run with an evaluation to report; `make demo` or `ekipl train` "
            "makes one."
        )
    latest: dict[str, RunInfo] = {}
    for info in tracking.run_together(finished[0], finished):
        latest.setdefault(info.name, info)
    return list(latest.values())


def set_title(runs: Sequence[RunData], name: str) -> str:
    """A set's heading on the page: its label, task and whether it is in-domain."""
    evaluations = next(run.evaluations for run in runs if name in run.evaluations)
    record = next(iter(next(iter(evaluations[name].values()))))
    return f"{name}: {record.task}, {_WORDS.get(record.split, record.split)}"


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


def check_arms(runs: Sequence[RunData]) -> None:
    """ConfigError where runs share nothing that could be compared or shown."""
    if not sets_of(runs):
        names = ", ".join(run.label for run in runs)
        raise ConfigError(
            f"No evaluation was recorded by {names}; set evaluation.sets, at_start and at_end in "
            "the config and train again."
        )
