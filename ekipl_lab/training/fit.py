"""A run that is set up, trained from its last checkpoint to its end or to a request to stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from accelerate.utils import gather_object
from transformers import PrinterCallback

from ekipl_lab.errors import RewardError
from ekipl_lab.groups.diagnostics import GroupCosts
from ekipl_lab.policies.save import save_policy
from ekipl_lab.policies.sharding import sharded_loading
from ekipl_lab.records import GroupRecordWriter
from ekipl_lab.tracking import RunLog
from ekipl_lab.training import checkpoint
from ekipl_lab.training.callbacks import RunCallback
from ekipl_lab.training.engine import Engine
from ekipl_lab.training.evaluator import Evaluator, measured_of
from ekipl_lab.training.guards import Stopped
from ekipl_lab.training.prefetch import Prefetcher, PromptSchedule
from ekipl_lab.training.ranks import on_main, save_shards
from ekipl_lab.training.run_policy import run_adapter
from ekipl_lab.training.setup import RunSetup
from ekipl_lab.training.trainer import EKIPLTrainer


@dataclass(frozen=True, slots=True)
class End:
    """Where training ended, and the metrics if the policy was measured there."""

    step: int
    finished: bool
    metrics: dict[str, float]


def fit(
    setup: RunSetup,
    log: RunLog | None,
    emit: Callable[[Mapping[str, Any]], None],
    stop: Callable[[], bool],
) -> End:
    """Train; ``log`` is None but on the main process. All that can be continued from is saved."""
    run, steps = setup.run, setup.plan.steps

    def warn(text: str) -> None:
        place = {"phase": "starting", "step": 0, "total": steps, "metrics": {}}
        emit({"event": "message", "text": text, **place})

    checkpoints = run.folder / "checkpoints"
    start = on_main(lambda: checkpoint.latest_checkpoint(checkpoints, warn))
    evaluator = Evaluator(measured_of(setup), log)
    callback = RunCallback(setup, evaluator, log, emit=emit, stop=stop)
    with _records(log, start) as records:
        trainer = _trainer(setup, records, callback)
        callback.trainer = trainer
        if run.config.evaluation.engine == "vllm":
            evaluator.engine = Engine(trainer, setup.policy)
        less = trainer.not_shared() if run.config.training.share_work else ""
        if less and log is not None:
            warn(less)
        if start is not None:
            trainer.costs = GroupCosts(**start.extra["costs"])
            trainer.scored = start.extra.get("scored", True)
        paid = trainer.collector.spending.resume(run.folder, gather_object, log is not None)
        trainer.costs.teacher_paid_usd = max(trainer.costs.teacher_paid_usd, paid)
        trainer.prefetcher = _prefetcher(setup, trainer)
        trainer.ask_while_generating = run.config.prefetch.while_generating
        try:
            if start is not None and start.step >= steps:
                trainer.load_end(start.folder)
                step = start.step
                callback.finish_step(step)
                callback.draw(trainer.state)
            else:
                trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
                step = int(trainer.state.global_step)
        except Stopped:
            return End(int(trainer.state.global_step), False, {})
        finally:
            if trainer.prefetcher is not None:
                trainer.prefetcher.close()
    finished, folder = step >= steps, run.folder / "policy"
    if finished and not trainer.scored:
        raise RewardError(
            f"None of the run's actions could be scored by {run.config.reward.scorer!r}: every "
            "reward was None and nothing was learned; correct the reward and give --fresh."
        )
    if finished and sharded_loading():
        save_shards(trainer, folder)
    elif finished and log is not None:
        dtype = run.config.policy.dtype
        save_policy(trainer.model, trainer.processing_class, folder, dtype=dtype)
    return End(step, finished, evaluator.metrics(step) if evaluator.done(step) else {})


def _trainer(setup: RunSetup, records: Any, callback: RunCallback) -> EKIPLTrainer:
    config = setup.run.config
    trainer = EKIPLTrainer(
        setup.policy.model,
        args=setup.run.args,
        samples=setup.samples,
        processing_class=setup.policy.processor,
        scorer=setup.run.scorer,
        teachers=setup.teachers,
        options=config.ekipl,
        records=records,
        gradient_norms_every=config.diagnostics.gradient_norms_every,
        share_work=config.training.share_work,
        callbacks=[callback],
        peft_config=run_adapter(config, setup.policy),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _prefetcher(setup: RunSetup, trainer: EKIPLTrainer) -> Prefetcher | None:
    generations = setup.run.config.prefetch.generations
    if generations == 0:
        return None
    schedule = PromptSchedule(setup.run.args, len(setup.samples), setup.plan.steps)
    return Prefetcher(trainer.collector, schedule, generations=generations)


@contextlib.contextmanager
def _records(
    log: RunLog | None, start: checkpoint.Checkpoint | None
) -> Iterator[GroupRecordWriter | None]:
    """The writer of group records, rid of those after ``start``; None but on the main process.

    Raises DataError where records are missing, at the start as at the end.
    """
    if log is None:
        yield None
        return
    with GroupRecordWriter(log.folder("groups")) as writer:
        writer.discard_after(start.step if start else 0)
        if start is not None:
            writer.check_rows(start.extra.get("recorded"))
        yield writer
        writer.check_rows()
