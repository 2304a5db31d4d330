"""The policy measured during a run: at the start, at intervals, at the end; never twice.

Its records lie in ``evaluation/<set>/step-000050.parquet`` of the run's folder (and among its
artifacts); one that was killed continues from its cache. ``step-000050.json`` is written last, once
the policy of the step is registered too (`finish`). The policy's random state, its mode and the
trainer's are as before.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import check_chain
from ekipl_lab.evaluation import (
    ChainCheck,
    check_chains,
    evaluate,
    read_records,
    summarize,
    write_records,
)
from ekipl_lab.evaluation.run import Mode, default_batch, refuse_doubled, refuse_unscored
from ekipl_lab.plots.metrics import overview
from ekipl_lab.policies.load import Policy
from ekipl_lab.policies.sharding import sharded_loading
from ekipl_lab.policies.source import PolicySource
from ekipl_lab.random_state import preserved
from ekipl_lab.tracking import RunLog
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import world_size
from ekipl_lab.training.engine import Engine
from ekipl_lab.training.lockstep import Lockstep, in_lockstep
from ekipl_lab.training.ranks import on_main, together
from ekipl_lab.training.setup import RunSetup
from ekipl_lab.types import EvalRecord, GenerationParams, Sample, Scorer

#: Called with (done, total) after every batch; may raise to stop.
#: Called with what is measured ("validation, greedy"), items done, and all of them.
Watch = Callable[[str, int, int], None]
Progress = Callable[[int, int], None]

#: Metrics that are also logged by family.
BY_FAMILY = ("accuracy_greedy", "pass_at_1", "pass_at_8")


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured, when and how: ``evaluations`` maps a step to whether it samples too.

    ``folder`` is the run's; ``process`` the rank of this one.
    """

    config: RunConfig
    folder: Path
    sets: Mapping[str, Sequence[Sample]]
    evaluations: Mapping[int, bool]
    policy: Policy
    scorer: Scorer
    process: int = 0


def measured_of(setup: RunSetup) -> Measured:
    """What a run of the trainer measures."""
    run, plan = setup.run, setup.plan
    return Measured(
        run.config, run.folder, setup.sets, plan.evaluations, setup.policy, run.scorer,
        run.args.process_index,
    )  # fmt: skip


class Evaluator:
    """Evaluates the policy of a run on its sets; chains are checked where there is a checker."""

    def __init__(self, own: Measured, log: RunLog | None) -> None:
        self.own, self.log, self.config = own, log, own.config
        self.engine: Engine | None = None  # a run with `evaluation.engine: vllm` sets it
        self.folder = own.folder / "evaluation"
        tasks = {sample.task for samples in own.sets.values() for sample in samples}
        known = self.config.data.benchmark == "mini" and tasks <= set(MINI_TASKS)
        self.checks_chains = known and self.config.evaluation.check_chains

    def due(self, step: int) -> bool:
        """Whether the policy is to be measured after ``step``."""
        return bool(self.own.sets) and step in self.own.evaluations

    def done(self, step: int) -> bool:
        """Whether it has been, in this or an earlier process."""
        return self._summary(step).is_file()

    def metrics(self, step: int) -> dict[str, float]:
        """The metrics of a finished evaluation."""
        return checkpoint.read_note(self._summary(step)) or {}

    def run(self, step: int, watch: Watch) -> dict[str, float]:
        """Measure, keep the records, log; the metrics, ``eval/<set>/...``. Then call `finish`."""
        began = time.perf_counter()
        rows: list[dict[str, Any]] = []
        metrics: dict[str, float] = {}
        for label, samples in self.own.sets.items():
            path = self.folder / label / f"step-{step:06d}.parquet"
            if on_main(path.is_file):
                records = read_records(path)
            else:
                with preserved():
                    records = self._records(label, samples, step, watch)
                refuse_unscored(records)
                on_main(partial(write_records, path, records))
            found, values = self._rows(label, samples, records)
            rows, metrics = rows + found, metrics | values
            if self.log is not None:
                self.log.log_artifact(path, f"evaluation/{label}")
        if self.log is not None:
            self.log.log_metrics(metrics | overview(metrics), step)
            self.log.log_metrics({"seconds/evaluation": time.perf_counter() - began}, step)
            self.log.log_table(rows, f"evaluation_step_{step:06d}")
            self.log.flush()
        return metrics

    def _records(
        self, label: str, samples: Sequence[Sample], step: int, watch: Watch
    ) -> list[EvalRecord]:
        """The records of all ranks, in the order of ``samples``; on every rank."""
        refuse_doubled(samples)
        modes: tuple[Mode, ...] = (
            ("greedy", "sampled") if self.own.evaluations[step] else ("greedy",)
        )
        found: list[EvalRecord] = []
        for mode in modes:
            progress = partial(watch, f"{label}, {mode}")
            found += self._mode(mode, label, samples, step, progress)
        return found

    def _mode(
        self, mode: Mode, label: str, samples: Sequence[Sample], step: int, progress: Progress
    ) -> list[EvalRecord]:
        """Each rank measures its own batches, which are those of a single process."""
        if self.engine is not None:
            return self._by_engine(self.engine, mode, samples, progress)
        own, policy = self.config.evaluation, self.own.policy
        size = default_batch(1 if mode == "greedy" else own.num_samples)
        mine = shares(len(samples), size, world_size())[self.own.process]
        lockstep = Lockstep(policy) if sharded_loading() else None
        source = PolicySource(
            policy if lockstep is None else replace(policy, model=lockstep), max_rows=own.max_rows
        )

        def measured() -> list[EvalRecord]:
            return evaluate(
                source,
                [samples[index] for index in mine],
                self.own.scorer,
                mode=mode,
                num_samples=own.num_samples,
                temperature=own.temperature,
                max_new_tokens=self.config.grpo_settings["max_completion_length"],
                seed=own.seed,
                batch_size=size,
                # In lockstep no rank may leave out what others make.
                cache=None if lockstep else self._partial(step) / label / mode,
                model_key=f"{self.config.name}, step {step}",
                progress=progress,
            )

        found = together(measured if lockstep is None else partial(in_lockstep, lockstep, measured))
        by_id = {record.sample_id: record for part in found for record in part}
        return [by_id[sample.id] for sample in samples]

    def _by_engine(
        self, engine: Engine, mode: Mode, samples: Sequence[Sample], progress: Progress
    ) -> list[EvalRecord]:
        """All ranks ask the engine together; each scores all that it gave."""
        own, count = self.config.evaluation, 1
        params = GenerationParams(
            temperature=0.0, max_new_tokens=self.config.grpo_settings["max_completion_length"]
        )
        if mode == "sampled":
            count, params = own.num_samples, replace(params, temperature=own.temperature)
        return evaluate(
            engine.asked(samples, count, params), samples, self.own.scorer,
            mode=mode, num_samples=own.num_samples, params=params, progress=progress,
        )  # fmt: skip

    def _rows(
        self, label: str, samples: Sequence[Sample], records: Sequence[EvalRecord]
    ) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """The table's rows, and what is logged of them: totals, and each family's of all levels."""
        chains: dict[tuple[str, str, str], tuple[ChainCheck, ...]] = {}
        if self.checks_chains:
            greedy = [record for record in records if record.mode == "greedy"]
            chains = check_chains(greedy, samples, check_chain)
        rows, metrics = [], {}
        parts = metric_parts(record.family for record in records)
        for by in ((), ("family",), ("family", "difficulty")):
            for row in summarize(records, by=by, ks=self.config.evaluation.ks, chains=chains):
                values = asdict(row)
                group = dict(values.pop("group"))
                rows.append({"set": label, "family": "all", "difficulty": "all", **group, **values})
                if not by:
                    metrics[f"eval/{label}/{row.metric}"] = row.value
                elif by == ("family",) and row.metric in BY_FAMILY and group["family"] in parts:
                    metrics[f"eval/{label}/{parts[group['family']]}/{row.metric}"] = row.value
        return rows, metrics

    def finish(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the summary, last of all: what has one is logged and registered, and never redone.

        A process killed before it measures again, out of the records that are there already.
        """
        checkpoint.write_note(self._summary(step), metrics)
        shutil.rmtree(self._partial(step), ignore_errors=True)

    def _summary(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}.json"

    def _partial(self, step: int) -> Path:
        return self.folder / "partial" / f"step-{step:06d}"


def measured_at(folder: Path) -> list[int]:
    """Steps of which the run in ``folder`` holds a whole evaluation."""
    return sorted(
        int(path.stem.rpartition("-")[2]) for path in folder.glob("evaluation/step-*.json")
    )


def shares(items: int, size: int, ranks: int) -> list[list[int]]:
    """Which items each rank measures: whole batches of ``size``, dealt in turn.

    A batch is what one process would make of the same items, so that its bits are the same too.
    """
    batches = [range(start, min(start + size, items)) for start in range(0, items, size)]
    return [[i for batch in batches[rank::ranks] for i in batch] for rank in range(ranks)]


def metric_part(family: str) -> str:
    """A family as part of a metric's name in MLflow; empty where the data have no families."""
    return re.sub(r"[^\w \-]", "_", family, flags=re.ASCII).strip()


def metric_parts(families: Iterable[str]) -> dict[str, str]:
    """Family -> its part of a metric's name, no two the same; those without a part are left out."""
    parts: dict[str, str] = {}
    for family in filter(metric_part, sorted(set(families))):
        part, number = metric_part(family), 1
        while (shown := part if number == 1 else f"{part}-{number}") in parts.values():
            number += 1
        parts[family] = shown
    return parts
