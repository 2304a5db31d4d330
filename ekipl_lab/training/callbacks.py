"""What happens between the steps of a run: logging, saving, measuring, stopping."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from transformers import TrainerCallback

from ekipl_lab.plots.metrics import live_panels, overview
from ekipl_lab.plots.sources import history_of, source_page
from ekipl_lab.policies.save import save_policy
from ekipl_lab.policies.sharding import sharded_loading
from ekipl_lab.tracking import RunLog
from ekipl_lab.tracking.checkpoints import COPY_LIMIT
from ekipl_lab.training import checkpoint
from ekipl_lab.training.doctor_checks import DoctorChecks
from ekipl_lab.training.evaluator import Evaluator
from ekipl_lab.training.guards import Stopped
from ekipl_lab.training.ranks import on_main, save_shards
from ekipl_lab.training.setup import RunSetup
from ekipl_lab.training.traced import log_some

Event = Mapping[str, Any]

#: TRL's own names of what it measures on *kept* actions; logged as ``trl/...``.
_TRLS = ("reward", "rewards/", "completions/", "frac_reward", "num_tokens", "eval_")
#: Marks the last line of transformers' own log, about its one call: the last step's is out already.
_CLOSING = "train_runtime"


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Binds a trainer to its run: folder, MLflow, evaluations, events, requests to stop.

    ``stop()`` tells whether to stop; it is looked at after every step and evaluation batch.
    """

    def __init__(
        self,
        setup: RunSetup,
        evaluator: Evaluator,
        log: RunLog | None,
        *,
        emit: Callable[[Event], None],
        stop: Callable[[], bool],
    ) -> None:
        self.setup = setup
        self.config, self.plan, self.folder = setup.run.config, setup.plan, setup.run.folder
        self.evaluator, self.log, self.emit, self.stop = evaluator, log, emit, stop
        panels = live_panels([teacher.id for teacher in self.config.teachers])
        #: Figures that every progress event carries.
        self.headlines = [name for names in panels.values() for name in names]
        every, steps = self.config.diagnostics.doctor_every, self.plan.steps
        self.doctor = None if log is None else DoctorChecks(every, steps, log, self._message)
        self.trainer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The evaluation of the step we start from, if it is still missing."""
        self.finish_step(state.global_step)
        self._progress("training", state.global_step, {})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save between generations: when it is time, before measuring, at the end, to stop."""
        step = state.global_step
        if step % self.plan.sizes.cycle:
            return
        every = self.config.tracking.checkpoint_every
        stop = self._agreed_to_stop(args)
        control.should_save = (
            stop or step % every == 0 or step >= self.plan.steps or self.evaluator.due(step)
        )
        control.should_training_stop |= stop

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Every metric of the step to MLflow, the headlines to whoever watches."""
        if not logs or _CLOSING in logs or not state.is_world_process_zero:
            return
        metrics = {_named(k): v for k, v in logs.items()}
        if self.log is not None:
            self.log.log_metrics(metrics | overview(metrics), state.global_step)
        found = ((name, metrics.get(name)) for name in self.headlines)
        headlines = {name: value for name, value in found if value is not None}
        self._progress("training", state.global_step, headlines)
        if "loss" in metrics and self.doctor is not None:
            self.doctor.look_early(state.global_step, state.log_history)
            if self.doctor.due(state.global_step):
                self.doctor.run(state.global_step, state.log_history)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The figures of all sources over the whole run."""
        if state.global_step >= self.plan.steps:
            self.draw(state)

    def draw(self, state: Any) -> None:
        """Figures and some prompts of a run that has reached its last step, in MLflow."""
        if self.log is not None:
            page = source_page(history_of(state.log_history), self.config.name)
            self.log.log_text(page, "figures/sources.html")
            log_some(self.setup, self.log, state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is whole: mark it so, measure what is due, delete old ones."""
        args.distributed_state.wait_for_everyone()
        checkpoints = Path(args.output_dir)
        folder = checkpoints / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero:
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
            records = self.trainer.records
            extra = {
                "costs": asdict(self.trainer.costs),
                "scored": self.trainer.scored,
                "recorded": None if records is None else records.rows,
            }
            checkpoint.mark_complete(folder, state.global_step, extra)
            if records is not None:
                records.check_rows()
            checkpoint.prune(checkpoints, self.config.tracking.keep_checkpoints)
        self.finish_step(state.global_step)

    def finish_step(self, step: int) -> None:
        """Measure the policy as it is after ``step`` if that is due, and register it."""
        if not self.evaluator.due(step):
            return
        main = self.trainer.is_world_process_zero()
        if not on_main(lambda: self.evaluator.done(step)):
            found = self.evaluator.run(step, self._evaluating)
            self._register(step, found)
            if main:
                self.evaluator.finish(step, found)
        if main:
            metrics = self.evaluator.metrics(step)
            greedy = {k: v for k, v in metrics.items() if k.count("/") == 2 and "accuracy" in k}
            self._progress("training", step, greedy)
        self.trainer.accelerator.wait_for_everyone()

    def _register(self, step: int, measured: Mapping[str, float]) -> None:
        """The policy of this step as a checkpoint in MLflow, in the precision it is trained in."""
        dtype, trainer = self.config.policy.dtype, self.trainer
        folder = self.folder / "policies" / f"step-{step:06d}"
        if sharded_loading():
            save_shards(trainer, folder)
        if self.log is None:
            return
        if not sharded_loading():
            save_policy(trainer.model, trainer.processing_class, folder, dtype=dtype)
        metrics = {k: v for k, v in measured.items() if k.count("/") == 2}
        self.log.log_checkpoint(folder, step, metrics)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if size <= COPY_LIMIT and step < self.plan.steps:
            shutil.rmtree(folder)  # the store has its own copy

    def _evaluating(self, part: str, done: int, total: int) -> None:
        if self.trainer.is_world_process_zero():  # its own share of the items
            self._progress("evaluation", done, {}, total=total, part=part)
        if self.stop() and self.trainer.accelerator.num_processes == 1:
            raise Stopped  # with others waiting, the next step is soon enough

    def _agreed_to_stop(self, args: Any) -> bool:
        """Whether any process was asked to stop; all do the same then."""
        return any(gather_object([self.stop()])) if args.world_size > 1 else self.stop()

    def _message(self, step: int, text: str) -> None:
        """A text for whoever watches, beside the progress."""
        place = {"phase": "training", "step": step, "total": self.plan.steps, "metrics": {}}
        self.emit({"event": "message", "text": text, **place})

    def _progress(
        self, phase: str, step: int, metrics: Event, total: int | None = None, part: str = ""
    ) -> None:
        run_id = self.log.run_id if self.log is not None else None
        self.emit(
            {
                "event": "progress",
                "phase": phase,
                "part": part,
                "step": step,
                "total": self.plan.steps if total is None else total,
                "metrics": dict(metrics),
                "run_id": run_id,
            }
        )


def _named(name: str) -> str:
    if name == "step_time":
        return "seconds/step"
    return f"trl/{name}" if name.startswith(_TRLS) else name
