"""One cell of a study: its stages one after the other, the last policy measured, its record.

Every part continues where it was interrupted: a run of the trainer from its checkpoint, supervised
steps from theirs, the measurement from its cache. The record is written last, whole or not at all.
In MLflow a cell is a run under the study's, and the runs of its stages are under it.
"""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import check_chain
from ekipl_lab.benchmarks.mini.freeze import folder_digest
from ekipl_lab.evaluation import check_chains, evaluate
from ekipl_lab.evaluation.run import refuse_unscored
from ekipl_lab.files import remove
from ekipl_lab.groups.diagnostics import GroupCosts
from ekipl_lab.policies.load import load_policy
from ekipl_lab.policies.source import PolicySource
from ekipl_lab.rewards import get_scorer
from ekipl_lab.studies.clock import Clock
from ekipl_lab.studies.inputs import inputs_of
from ekipl_lab.studies.plan import Cell
from ekipl_lab.studies.recipe import Step
from ekipl_lab.studies.record import (
    RECORD,
    final_metrics,
    pack,
    record_text,
    settings_hash,
    write_record,
)
from ekipl_lab.tracking import client, list_runs, open_run, store_folder
from ekipl_lab.tracking.pages import PARENT_TAG
from ekipl_lab.tracking.provenance import git_tags
from ekipl_lab.training import checkpoint
from ekipl_lab.training.guards import only_one
from ekipl_lab.training.paths import policy_path
from ekipl_lab.training.run import train
from ekipl_lab.training.run_data import load_evaluation_sets
from ekipl_lab.training.sft.stage import supervise
from ekipl_lab.training.starts import START_TAG, made_by
from ekipl_lab.types import EvalRecord

#: Kind of work -> how the names of its parts on the clock begin.
_PARTS = {"train": "train", "sft": "sft", "evaluation": "evaluation, final"}

Emit = Callable[[Mapping[str, Any]], None]
#: Tags of MLflow runs: the study of a parent, the cell of its child.
STUDY_TAG, CELL_TAG = "ekipl.study", "ekipl.cell"
#: Metrics of a run's own evaluations that a curve keeps.
CURVE = ("accuracy_greedy", "pass_at_1", "pass_at_4", "pass_at_8", "pass_at_16")


def study_run(name: str) -> str:
    """Id of the MLflow run that the cells of a study are under; made if there is none."""
    experiment = f"study-{name}"
    for run in list_runs(experiment, name=name):
        if run.tags.get(STUDY_TAG) == name:
            return run.run_id
    with open_run(experiment, name, tags={STUDY_TAG: name}) as log:
        return log.run_id


def run_cell(cell: Cell, line: list[str], emit: Emit, *, fresh: bool = False) -> Path:
    """Run a cell, or go on with it; the path of its record. ``line`` is the command to note.

    A cell that has its record is done; ``fresh`` forgets record, stages and measurement. One that
    another process runs is waited for: it ends, or was killed and is continued here.
    """
    if fresh:
        cell.record.unlink(missing_ok=True)
    if _is_done(cell, emit):
        return cell.record
    folder = store_folder() / "work" / cell.name
    with only_one(folder, lambda: emit({"event": "progress", "phase": "run by another process"})):
        if _is_done(cell, emit):
            return cell.record
        for path in folder.iterdir() if fresh else ():
            if path.name != "lock":
                remove(path)
        note = checkpoint.read_note(folder / "cell.json") or {}
        start, known = note.get("start") or secrets.token_hex(8), note.get("run_id")
        if known is None and "start" in note:  # killed while its MLflow run was made
            known = made_by(cell.name, start)
        if known is None:
            checkpoint.write_note(folder / "cell.json", {"run_id": None, "start": start})
        tags = {PARENT_TAG: study_run(cell.study.name), CELL_TAG: cell.name, START_TAG: start}
        params = {"arm": cell.arm, "task": cell.task, "seed": cell.seed}
        with open_run(f"study-{cell.study.name}", cell.name, params, None, tags, known) as log:
            checkpoint.write_note(folder / "cell.json", {"run_id": log.run_id, "start": start})
            emit({"event": "start", "phase": "starting", "run_id": log.run_id})
            record = _Run(cell, folder, log.run_id, emit, fresh).record(shlex.join(line))
            log.log_text(record_text(record), RECORD)
            for name, groups in record["final"].items():
                metrics = {f"final/{name}/{m}": value for m, value in groups["all"].items()}
                log.log_metrics(metrics, 0)
            log.log_metrics({f"cost/{axis}": value for axis, value in record["cost"].items()}, 0)
        write_record(cell.record, record)  # once MLflow has it, where other machines find it
    for step in cell.steps:  # weights of hundreds of cells would fill a disk
        shutil.rmtree(store_folder() / "work" / step.config.name / "checkpoints", True)
    emit({"event": "finish", "phase": "finished", "run_id": log.run_id})
    return cell.record


def _is_done(cell: Cell, emit: Emit) -> bool:
    """Whether it has its record; says so."""
    done = cell.finished() is not None
    if done:
        emit({"event": "finish", "phase": "finished"})
    return done


class _Run:
    """A cell that is being run: what it has cost so far, and its clock."""

    def __init__(self, cell: Cell, folder: Path, run_id: str, emit: Emit, fresh: bool) -> None:
        self.cell, self.folder, self.run_id = cell, folder, run_id
        self.emit, self.fresh = emit, fresh
        self.clock = Clock(folder / "clock.json")
        self.costs: dict[str, float] = asdict(GroupCosts())
        self.amounts: Counter[str] = Counter()
        self.curve: list[dict[str, Any]] = []

    def record(self, line: str) -> dict[str, Any]:
        """Do what is left to do, and say what came of it."""
        inputs = inputs_of(self.cell)
        policy = Path(policy_path(self.cell.base.policy.path or ""))
        for number, step in enumerate(self.cell.steps, 1):
            policy = self._step(number, step, policy)
        records = self._measure(policy)
        self.clock.part("")
        cell, revision = self.cell, git_tags()
        cost: dict[str, float] = {axis: round(value, 6) for axis, value in self.costs.items()}
        for axis in ("wall", "cpu"):
            cost[f"{axis}_seconds"] = round(self.clock.total(axis, without="evaluation"), 1)
        cost["evaluation_seconds"] = round(self._seconds("evaluation", "wall"), 1)
        parts = {
            kind: {"amount": amount, "seconds": round(self._seconds(_PARTS[kind], "cpu"), 1)}
            for kind, amount in self.amounts.items()
        }
        return {
            "study": cell.study.name, "cell": cell.name, "arm": cell.arm, "task": cell.task,
            "seed": cell.seed, "command": line, "settings": cell.settings,
            "inputs": inputs,
            "code": {"revision": revision.get("ekipl.git_revision"),
                     "changed": revision.get("ekipl.git_dirty") == "true"},
            "cost": cost, "parts": parts,
            "final": {name: self._metrics(rows) for name, rows in records.items()},
            "items": {name: pack(rows) for name, rows in records.items()},
            "curve": self.curve,
        }  # fmt: skip

    def _spend(self, **costs: float) -> None:
        for axis, amount in costs.items():
            self.costs[axis] += amount

    def _seconds(self, kind: str, axis: str) -> float:
        parts = self.clock.parts.items()
        return sum(part[axis] for name, part in parts if name.startswith(kind))

    def _step(self, number: int, step: Step, policy: Path) -> Path:
        """Run a stage from ``policy``; the folder of the policy that it leaves."""
        if number > 1:
            step = step.start_from(policy)
        if step.sft is None:
            return self._train(number, step)
        self.clock.part(f"sft {number}")

        def show(event: Mapping[str, Any]) -> None:
            self.clock.tick()
            if event["event"] == "start":
                client().set_tag(event["run_id"], PARENT_TAG, self.run_id)
            elif event["event"] != "finish":
                self.emit(event)

        done = supervise(step.config, step.sft, on_event=show, fresh=self.fresh)
        self.clock.part("")
        if done.status != "finished":
            raise KeyboardInterrupt
        self.amounts["sft"] += done.chains
        self._spend(**done.costs)
        return done.policy

    def _train(self, number: int, step: Step) -> Path:
        self.clock.part(f"train {number}")

        def show(event: Mapping[str, Any]) -> None:
            measuring = str(event["phase"]).startswith("evaluat")
            self.clock.part("evaluation, curve" if measuring else f"train {number}")
            if event["event"] == "start":
                client().set_tag(event["run_id"], PARENT_TAG, self.run_id)
            elif event["event"] != "finish":
                self.emit(event)

        result = train(step.config, on_event=show, fresh=self.fresh)
        self.clock.part("")
        if result.policy is None:
            raise KeyboardInterrupt
        last = checkpoint.complete_checkpoints(result.folder / "checkpoints")
        note = checkpoint.read_note(self.folder / f"costs-{number}.json")
        costs = note or dict(last[-1].extra["costs"])
        checkpoint.write_note(self.folder / f"costs-{number}.json", costs)
        self._add_curve(number, result.folder, costs, result.step)
        self._spend(**costs)
        self.amounts["train"] += int(costs["policy_completions"])
        return result.policy

    def _add_curve(self, number: int, folder: Path, costs: Mapping[str, float], end: int) -> None:
        """The run's own evaluations; costs at a step as its share of the run's."""
        for path in sorted((folder / "evaluation").glob("step-*.json")):
            at = int(path.stem.rpartition("-")[2])
            metrics = checkpoint.read_note(path) or {}
            kept = {k: round(v, 6) for k, v in metrics.items() if k.rpartition("/")[2] in CURVE}
            done = {axis: self.costs[axis] + costs[axis] * at / end for axis in
                    ("policy_completions", "policy_tokens", "trained_tokens",
                     "teacher_tokens")}  # fmt: skip
            for axis in ("wall", "cpu"):
                own = self._seconds(f"train {number}", axis)
                before = self.clock.total(axis, without="evaluation") - own
                done[f"{axis}_seconds"] = round(before + own * at / end, 1)
            self.curve.append({"stage": number, "step": at, **done, "metrics": kept})

    def _measure(self, folder: Path) -> dict[str, list[EvalRecord]]:
        """Set -> greedy and sampled records of the policy in ``folder``."""
        self.clock.part("evaluation, final")
        base, final = self.cell.base, self.cell.study.final
        source = PolicySource(load_policy(folder), max_rows=base.evaluation.max_rows)
        scorer = get_scorer(base.reward.scorer, base.reward.weights)
        found: dict[str, list[EvalRecord]] = {}
        digest = folder_digest(folder)
        cache = self.folder / "final"
        if not self.cell.steps and not self.fresh:  # the same at every seed of these settings
            length = base.grpo_settings["max_completion_length"]
            about = settings_hash([digest, self.cell.settings, length])
            cache = store_folder() / "work" / f"{self.cell.study.name}-measured" / about
        for label, samples in load_evaluation_sets(base).items():

            def show(done: int, total: int, label: str = label) -> None:
                self.clock.tick()
                self.emit({"event": "progress", "phase": f"measuring {label}", "step": done,
                           "total": total})  # fmt: skip

            found[label] = []
            for mode in ("greedy", "sampled"):
                found[label] += evaluate(
                    source,
                    samples,
                    scorer,
                    mode=mode,
                    num_samples=final.num_samples,
                    temperature=base.evaluation.temperature,
                    max_new_tokens=base.grpo_settings["max_completion_length"],
                    seed=base.evaluation.seed,
                    cache=cache / label / mode,
                    model_key=digest,
                    progress=show,
                )
            refuse_unscored(found[label])
            self.amounts["evaluation"] += len(samples) * (1 + final.num_samples)
        return found

    def _metrics(self, records: list[EvalRecord]) -> dict[str, dict[str, float]]:
        """With the soundness of chains where the benchmark can tell it."""
        known = self.cell.base.data.benchmark == "mini" and {r.task for r in records} <= set(
            MINI_TASKS
        )
        chains = {}
        if known and self.cell.study.final.check_chains:
            sets = load_evaluation_sets(self.cell.base).values()
            chains = check_chains(records, [s for samples in sets for s in samples], check_chain)
        return final_metrics(records, self.cell.study.final.ks, chains)


def print_event(event: Mapping[str, Any]) -> None:
    """One event as one JSON line, for the process that started the cell."""
    print(json.dumps(event), flush=True)
