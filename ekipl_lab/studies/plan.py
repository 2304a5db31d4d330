"""The cells of a study: what each runs, in which order, and whether its record is there.

A cell's name is ``<study>-<task>-<arm>-s<seed>``. Its settings are plain values; their hash is in
its record, so that a record of other settings is not taken for it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.files import check_folder
from ekipl_lab.rewards import get_scorer
from ekipl_lab.studies.cells import RunSpec
from ekipl_lab.studies.config import (
    Study,
    as_overrides,
    check_strata,
    refuse_double,
    refuse_owned,
)
from ekipl_lab.studies.presets import PRESETS
from ekipl_lab.studies.recipe import Step, as_steps, refuse_idle_rule
from ekipl_lab.studies.record import CellRecord, read_record, settings_hash
from ekipl_lab.tracking.store import project_root
from ekipl_lab.training.config.action_sft import check_none_idle
from ekipl_lab.training.config.combinations import evaluation_data
from ekipl_lab.training.config.run_config import RunConfig, load_config
from ekipl_lab.training.dry_run import supervised_texts
from ekipl_lab.training.run_data import load_evaluation_sets
from ekipl_lab.training.run_policy import policy_without_weights
from ekipl_lab.training.setup import check_setup


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell. ``base``: the config whose evaluation sets it is measured on, and its policy."""

    study: Study
    task: str
    arm: str
    seed: int
    base: RunConfig
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Unique among all studies; of folders and files."""
        return f"{self.study.name}-{self.task}-{self.arm}-s{self.seed}"

    @property
    def settings(self) -> str:
        """Hash of what the files and presets say of its result; new defaults do not change it."""
        left_out = {"name", "tracking", "prefetch", "diagnostics", "hardware"}
        steps = [
            {
                "run": step.config.model_dump(mode="json", exclude=left_out, exclude_unset=True),
                "grpo": step.config.grpo_settings,
                "sft": step.sft and step.sft.model_dump(mode="json", exclude_defaults=True),
            }
            for step in self.steps
        ]
        shared = {"policy", "data", "evaluation", "reward"}
        base = self.base.model_dump(mode="json", include=shared, exclude_unset=True)
        final = self.study.final.model_dump(mode="json")
        return settings_hash({"steps": steps, "base": base, "final": final})

    @property
    def record(self) -> Path:
        """Where its record lies, or will."""
        return study_folder(self.study) / "cells" / f"{self.name}.json"

    def finished(self) -> CellRecord | None:
        """Its record, if there is one; ConfigError if that was made with other settings."""
        found = read_record(self.record)
        if found is not None and (found.arm, found.task, found.seed) != (
            self.arm, self.task, self.seed,
        ):  # fmt: skip
            raise ConfigError(
                f"{self.record} is of arm {found.arm!r}, task {found.task!r} and seed "
                f"{found.seed}; delete it to run the cell."
            )
        if found is not None and found.raw["settings"] != self.settings:
            raise ConfigError(
                f"{self.record} was made with other settings; give --fresh to run the cell "
                "again, or give the study another name."
            )
        return found


def study_folder(study: Study) -> Path:
    """The folder of its records, its page and its figures."""
    return project_root() / study.records / study.name


def plan_study(
    study: Study, seeds: Sequence[int] = (), overrides: Sequence[str] = ()
) -> list[Cell]:
    """All cells, seed by seed, so that the first ones already compare every arm."""
    refuse_owned("an override", [given.partition("=")[0].strip() for given in overrides])
    refuse_double("--seeds", list(seeds))
    cells = [
        plan_cell(study, task, arm, seed, overrides)
        for seed in seeds or study.seeds
        for task in study.tasks
        for arm in study.arms
    ]
    _check_shared_sft(study, cells)
    _check_groups(study, cells)
    return cells


def plan_cell(study: Study, task: str, arm: str, seed: int, overrides: Sequence[str] = ()) -> Cell:
    """One cell, its configs checked. ``overrides`` are of the base, for all cells."""
    own = study.arms[arm]
    common = [
        *as_overrides({"tracking.experiment": f"study-{study.name}"} | study.set),
        *as_overrides(study.tasks[task]),
        *overrides,
        f"seed={seed}",
    ]
    cell_name = f"{study.name}-{task}-{arm}-s{seed}"
    base_file = study.base if study.base.is_file() else project_root() / study.base
    base = load_config(base_file, [*common, f"name={cell_name}"])
    if base.policy.path is None:
        raise ConfigError(f"{base_file}: a study starts from a saved policy; give policy.path.")
    for word in ("recipe", "sft"):
        if getattr(base, word) is not None:
            raise ConfigError(
                f"{base_file} has `{word}:`, which a study says by its arms (`preset`, `sft`) or "
                "for all by its own `sft`; leave it out there."
            )

    if not base.evaluation.sets:
        raise ConfigError(f"{base_file}: a study measures its arms; give evaluation.sets.")

    def make(number: int, settings: Mapping[str, Any]) -> RunConfig:
        differs = as_overrides({**settings, **own.set})
        return load_config(base_file, [*common, *differs, f"name={cell_name}.{number}"])

    stages = PRESETS[own.preset or arm](base)
    who = f"Arm {arm!r} of {study.name}"
    steps = as_steps(stages, make, study.sft.model_dump(exclude_unset=True), own.sft, who)
    if own.set and not steps:
        raise ConfigError(f"{who} has `set`, and its preset runs nothing.")
    if steps and all(step.sft is not None for step in steps):
        refuse_idle_rule(own.set, f"{who} sets", "its preset has supervised steps alone")
    for step in steps:
        if key := _measured_otherwise(base, step.config):
            raise ConfigError(
                f"{who} differs in {key}, and the arms of a task are measured alike; set it for "
                f"the study (`set`) or in `tasks`{_NAMED_SETS if key in _OF_SETS else ''}."
            )
    return Cell(study, task, arm, seed, base, steps)


#: What an arm may say of its evaluations: when they are made, and how many rows at once.
_OWN_EVALUATION = ("every", "max_rows")
_OF_SETS = ("data.task", "data.families")
_NAMED_SETS = ", or name the task and families of each of `evaluation.sets`"


def _measured_otherwise(base: RunConfig, own: RunConfig) -> str | None:
    """The setting by which an arm's curve is of other items than the task's; None: the same.

    What it trains on is its own: `data.limit`, `split`, `start`, `seed`.
    """
    length = "max_completion_length"
    if base.grpo_settings[length] != own.grpo_settings[length]:
        return f"grpo.{length}"
    if base.reward.scorer != own.reward.scorer:
        return "reward.scorer"
    for key in type(base.evaluation).model_fields:
        same = getattr(base.evaluation, key) == getattr(own.evaluation, key)
        if not same and key not in _OWN_EVALUATION:
            return f"evaluation.{key}"
    for chosen in base.evaluation.sets:
        wanted, given = evaluation_data(base, chosen), evaluation_data(own, chosen)
        for key in type(wanted).model_fields:
            if getattr(wanted, key) != getattr(given, key):
                return f"data.{key}"
    return None


def _check_shared_sft(study: Study, cells: Sequence[Cell]) -> None:
    """ConfigError for a setting of the study's ``sft`` that changes nothing in any arm."""
    settings = [step.sft for cell in cells for step in cell.steps if step.sft is not None]
    for key in sorted(study.sft.model_fields_set):
        if not settings:
            raise ConfigError(
                f"sft.{key} changes nothing: no arm of {study.name} has supervised steps; leave it "
                "out."
            )
        used = False
        for one in settings:
            try:
                check_none_idle(one, {key})
                used = True
            except ConfigError as error:
                idle = error
        if not used:
            raise idle


def _check_groups(study: Study, cells: Sequence[Cell], *, load: bool = False) -> None:
    """ConfigError for a family of the strata, or a set or group of a registered contrast, that no
    task has.

    Families of own data are known only where they may be loaded: a page is drawn without them.
    """
    if not study.strata and not study.registered:
        return
    bases = {cell.task: cell.base for cell in cells}
    known = {task: _families(base, load=load) for task, base in bases.items()}
    everything = set().union(*(found for found in known.values() if found is not None))
    check_strata(study.strata, everything)
    for family in itertools.chain(*study.strata.values()):
        if family not in everything and None not in known.values():
            raise unknown_name("family in strata", family, everything)
    labels = {cell.task: [one.label for one in cell.base.evaluation.sets] for cell in cells}
    for one in study.registered:
        if one.set not in labels[one.task]:
            raise unknown_name("set of a registered contrast", one.set, labels[one.task])
        families = known[one.task]
        if families is not None and one.group not in (of := {"all", *study.strata, *families}):
            raise unknown_name("group of a registered contrast", one.group, of)


def _families(base: RunConfig, *, load: bool) -> set[str] | None:
    """The families that the evaluation sets of a task can have; None: own data, not loaded."""
    if base.data.benchmark != "mini":
        if not load:
            return None
        return {one.family for found in load_evaluation_sets(base).values() for one in found}
    tasks = {evaluation_data(base, chosen).task for chosen in base.evaluation.sets}
    return {family for task in tasks for family in MINI_TASKS[task].families}


def check_cells(cells: Sequence[Cell]) -> None:
    """What else a cell would fail of, before the first one runs: all that a dry run of its stages
    finds, its evaluation sets, the folder. ConfigError or DataError.
    """
    study = cells[0].study
    check_folder(study_folder(study))
    if {cell.task for cell in cells} == study.tasks.keys():
        _check_groups(study, cells, load=True)
    seen = set[str]()
    for cell in cells:
        for step in cell.steps:
            about = step.config.model_dump_json(exclude={"name", "seed"})
            about += "" if step.sft is None else step.sft.model_dump_json()
            if about in seen:
                continue
            seen.add(about)
            if step.sft is None:
                check_setup(step.config)
            else:
                deque(supervised_texts(step.config, step.sft), maxlen=0)
    for base in {cell.task: cell.base for cell in cells}.values():
        load_evaluation_sets(base)
        get_scorer(base.reward.scorer, base.reward.weights)
        policy_without_weights(base)


def find_cell(cells: Sequence[Cell], name: str) -> Cell:
    """The cell of that name; ConfigError with the nearest."""
    by_name = {cell.name: cell for cell in cells}
    if name not in by_name:
        raise unknown_name("cell", name, by_name)
    return by_name[name]


def as_spec(cell: Cell, file: Path, overrides: Sequence[str], seeds: Sequence[int]) -> RunSpec:
    """The cell as a plain command, for a launcher or any scheduler."""
    given: list[Any] = ["--seeds", *seeds] if seeds else []
    words = ["compare", file, "--cell", cell.name, *given]
    words += [word for override in overrides for word in ("--set", override)]
    return RunSpec(cell.name, file, tuple(overrides), tuple(map(str, words)))
