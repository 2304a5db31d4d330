"""Supervised steps with TRL from their last checkpoint to their end, or to a request to stop."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig

from ekipl_lab.groups.encoder import policy_encoder
from ekipl_lab.plots.metrics import SUPERVISED_SECONDS
from ekipl_lab.policies.context import check_prompts_fit, context_length
from ekipl_lab.policies.load import Policy
from ekipl_lab.policies.save import merge_adapter, save_policy
from ekipl_lab.policies.sharding import sharded_loading
from ekipl_lab.tracking import RunLog
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.ranks import on_main, save_shards
from ekipl_lab.training.run_policy import run_adapter
from ekipl_lab.training.sft.config import Stage
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.lowest import Lowest
from ekipl_lab.training.sft.trainer import Collator, SupervisedTrainer, example_dataset

#: Figures that every progress event carries.
_HEADLINES = ("loss", "validation_loss")


@dataclass(frozen=True, slots=True)
class Lesson:
    """All that supervised steps need. ``lowest`` is None where nothing is held out."""

    config: RunConfig
    args: SFTConfig
    folder: Path
    policy: Policy
    stage: Stage
    examples: Sequence[Example]
    held_out: Sequence[Example]
    lowest: Lowest | None

    @property
    def final(self) -> Path:
        """Where the result goes as it is trained: an adapter, or the whole policy."""
        return self.folder / ("adapter" if self.config.policy.adapter else "policy")


def fit_trl(
    lesson: Lesson,
    log: RunLog | None,
    emit: Callable[[Mapping[str, Any]], None],
    stop: Callable[[], bool],
) -> tuple[int, bool]:
    """Train; the step that was reached, and whether that is the end.

    The policy is then in ``policy`` of the folder, whole, an adapter also in ``adapter``. ``log``
    is None but on the main process.
    """
    start = on_main(lambda: checkpoint.latest_checkpoint(lesson.folder / "checkpoints"))
    first, lowest = start.step if start else 0, lesson.lowest
    if lowest is not None:
        lowest.begin(first)
    callback = _Callback(lesson, log, emit, stop)
    trainer = callback.trainer = _trainer(lesson, callback)
    callback.seconds = float(start.extra.get("seconds", 0.0)) if start else 0.0
    if start is not None and callback.over(first):
        trainer.load_end(start.folder)
        callback.look(first)
        step = first
    else:
        trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
        step = int(trainer.state.global_step)
    if not callback.over(step):
        return step, False
    if lowest is None:
        callback.save(lesson.final)
    if log is not None:
        if lowest is not None:
            lowest.keep()
            shutil.rmtree(lesson.final, ignore_errors=True)
            shutil.copytree(lowest.policy, lesson.final)
        if lesson.config.policy.adapter is not None:
            merge_adapter(lesson.final, lesson.folder / "policy")
    trainer.accelerator.wait_for_everyone()
    return step, True


def _trainer(lesson: Lesson, callback: _Callback) -> SupervisedTrainer:
    config, policy, stage, args = lesson.config, lesson.policy, lesson.stage, lesson.args
    limit = int(config.grpo_settings["max_completion_length"])
    shown = [example.sample for example in (*lesson.examples, *lesson.held_out)]
    check_prompts_fit(policy, shown, limit, context_length(policy.model))
    args.max_steps = stage.steps
    trainer = SupervisedTrainer(
        policy.model,
        args=args,
        train_dataset=example_dataset(lesson.examples, stage.steps, stage.batch_size, config.seed),
        data_collator=Collator(policy, policy_encoder(policy, config.ekipl, limit)),
        processing_class=policy.processor,
        peft_config=run_adapter(config, policy),
        callbacks=[callback],
        schedule=stage,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Callback(TrainerCallback):  # type: ignore[misc]
    """Between the steps: logs, checkpoints, the loss on held-out examples, requests to stop."""

    def __init__(
        self,
        lesson: Lesson,
        log: RunLog | None,
        emit: Callable[[Mapping[str, Any]], None],
        stop: Callable[[], bool],
    ) -> None:
        self.lesson, self.log, self.emit, self.stop = lesson, log, emit, stop
        self.steps = lesson.stage.steps
        self.trainer: Any = None
        self.seconds, self._began = 0.0, 0.0

    def over(self, step: int) -> bool:
        """Whether nothing is left to train."""
        lowest = self.lesson.lowest
        return step >= self.steps or (lowest is not None and lowest.stop)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The loss of the step we start from, if it is missing."""
        self.look(state.global_step)
        self._progress(state.global_step, {})

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the time."""
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure and save when it is time, at the end, and to stop."""
        step = state.global_step
        self.seconds += time.perf_counter() - self._began
        every = self.lesson.config.tracking.checkpoint_every
        measured = self.look(step)
        stop = any(gather_object([self.stop()])) if args.world_size > 1 else self.stop()
        control.should_save = stop or measured or step % every == 0 or self.over(step)
        control.should_training_stop |= stop or self.over(step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Every metric of the step to MLflow, the loss to whoever watches."""
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        if self.log is not None:
            self.log.log_metrics({**logs, SUPERVISED_SECONDS: self.seconds}, state.global_step)
        self._progress(state.global_step, {k: logs[k] for k in _HEADLINES if k in logs})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is whole: mark it so, delete old ones."""
        args.distributed_state.wait_for_everyone()
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
        checkpoint.mark_complete(folder, state.global_step, {"seconds": self.seconds})
        checkpoint.prune(Path(args.output_dir), self.lesson.config.tracking.keep_checkpoints)
        if self.lesson.lowest is not None:
            self.lesson.lowest.keep()

    def look(self, step: int) -> bool:
        """Measure the loss on held-out examples if it is due; whether it was."""
        lowest = self.lesson.lowest
        if lowest is None or not lowest.due(step, self.steps):
            return False
        loss = self.trainer.loss_on(self.lesson.held_out)
        lowest.add(step, loss, self.save)
        if self.log is not None:
            self.log.log_metrics({"validation_loss": loss}, step)
        self._progress(step, {"validation_loss": loss})
        return True

    def save(self, folder: Path) -> None:
        """The policy as it is: an adapter alone where one is trained."""
        trainer = self.trainer
        if sharded_loading():
            save_shards(trainer, folder)
        elif self.log is not None:
            dtype = self.lesson.config.policy.dtype
            save_policy(trainer.model, trainer.processing_class, folder, dtype=dtype)

    def _progress(self, step: int, metrics: Mapping[str, float]) -> None:
        if self.trainer.is_world_process_zero():
            self.emit({"event": "progress", "phase": "supervised", "step": step,
                       "total": self.steps, "metrics": dict(metrics)})  # fmt: skip
