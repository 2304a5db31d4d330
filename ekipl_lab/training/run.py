"""One training run from its config: started, interrupted, continued, finished.

    result = train(load_config("configs/demo_ekipl.yaml"))

The same call continues an interrupted run: same MLflow run, from the last whole checkpoint, to the
same bits on a CPU. Interrupting (Ctrl-C, SIGTERM, ``stop``) ends after the current step and saves;
a second Ctrl-C ends at once and loses the steps since the last checkpoint, as kill -9 does.
"""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import read_json, write_json
from ekipl_lab.tracking import RunLog, find_run, open_run, store_folder
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.plan import grpo_arguments
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.guards import interruptible, only_one
from ekipl_lab.training.setup import RunSetup, build_setup, fingerprint, run_adapter, run_params

if TYPE_CHECKING:
    from ekipl_lab.training.callbacks import RunCallback
    from ekipl_lab.training.evaluator import Measurer
    from ekipl_lab.training.prefetch import Prefetcher
    from ekipl_lab.training.trainer import EKIPLTrainer


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended: ``status`` finished or stopped; ``policy`` the last weights, if finished.

    ``metrics`` are those of the last evaluation.
    """

    name: str
    run_id: str
    status: str
    step: int
    folder: Path
    policy: Path | None
    metrics: dict[str, float]


def train(
    config: RunConfig,
    *,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
    stop: Callable[[], bool] | None = None,
    fresh: bool = False,
) -> TrainResult:
    """Train, or continue; a finished run is not trained again unless ``fresh``.

    Args:
        on_event: called with plain dicts (event, phase, step, total, metrics, run_id).
        stop: asked after every step and evaluation batch; True ends the run for now.
        fresh: forget what there is of a run of this name (its MLflow run stays) and start anew.

    Raises:
        ConfigError: for wrong settings, another config than the run was started with, or a run
            that another process is training.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once everything is saved.
    """
    folder = store_folder() / "work" / config.name
    emit = on_event or (lambda event: None)
    _hush()
    args = grpo_arguments(config, folder / "checkpoints")
    is_main = args.process_index == 0
    with only_one(folder, is_main), interruptible(stop) as signals:
        with args.distributed_state.main_process_first():
            note = _prepare(folder, config, fresh and is_main)
        if note is not None and (done := read_json(folder / "result.json")):
            emit({"event": "finish", "phase": "finished", "run_id": done["run_id"]})
            return _result(config, folder, done)
        setup = build_setup(config, folder, args)
        with contextlib.ExitStack() as stack:
            log = None
            if is_main:
                log = stack.enter_context(_open_log(config, note, setup))
                write_json(
                    folder / "run.json",
                    {"run_id": log.run_id, "config": config.model_dump(mode="json")},
                )
                emit({"event": "start", "phase": "starting", "run_id": log.run_id})
            end = _train(config, folder, args, setup, log, emit, signals.wanted)
            if not end.finished:
                if signals.interrupted:
                    raise KeyboardInterrupt
                if log is not None:
                    log.close("KILLED")
        run_id = (read_json(folder / "run.json") or {}).get("run_id", "")
        status = "finished" if end.finished else "stopped"
        done = {"run_id": run_id, "status": status, "step": end.step, "metrics": end.metrics}
        if end.finished and is_main:
            write_json(folder / "result.json", done)
        emit({"event": "finish", "phase": done["status"], "run_id": run_id})
        return _result(config, folder, done)


@dataclass(frozen=True, slots=True)
class _End:
    """Where training ended, and the metrics if the policy was measured there."""

    step: int
    finished: bool
    metrics: dict[str, float]


def _train(
    config: RunConfig,
    folder: Path,
    args: Any,
    setup: RunSetup,
    log: RunLog | None,
    emit: Callable[[Mapping[str, Any]], None],
    stop: Callable[[], bool],
) -> _End:
    """Train from the last checkpoint to the end or the wish to stop."""
    from accelerate.utils import gather_object

    from ekipl_lab.groups.diagnostics import GroupCosts
    from ekipl_lab.policies.load import sharded_loading
    from ekipl_lab.training.callbacks import RunCallback, Stopped

    plan = setup.plan
    with args.distributed_state.main_process_first():
        start = checkpoint.latest_checkpoint(folder / "checkpoints")
    measurer = _measurer(config, folder, setup, plan.steps, log)
    callback = RunCallback(config, plan, folder, measurer, log, emit=emit, stop=stop)
    with _records(log, start.step if start else 0) as records:
        trainer = _trainer(config, args, setup, records, callback)
        callback.trainer = trainer
        if start is not None:
            trainer.costs = GroupCosts(**start.extra["costs"])
        paid = trainer.collector.spending.resume(folder, gather_object, log is not None)
        trainer.costs.teacher_paid_usd = max(trainer.costs.teacher_paid_usd, paid)
        trainer.prefetcher = _prefetcher(config, args, setup, trainer)
        try:
            if start is not None and start.step >= plan.steps:
                trainer.load_end(start.folder)
                step = start.step
                callback.finish_step(step)
                callback.draw(trainer.state)
            else:
                trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
                step = int(trainer.state.global_step)
        except Stopped:
            return _End(int(trainer.state.global_step), False, {})
        finally:
            if trainer.prefetcher is not None:
                trainer.prefetcher.close()
    finished = step >= plan.steps
    if finished and sharded_loading():
        trainer.save_model(str(folder / "policy"))  # all processes bring their shards
    elif finished and log is not None:
        _save_final(config, folder, trainer)
    return _End(step, finished, measurer.metrics(step) if measurer.done(step) else {})


def _trainer(
    config: RunConfig, args: Any, setup: RunSetup, records: Any, callback: RunCallback
) -> EKIPLTrainer:
    from transformers import PrinterCallback

    from ekipl_lab.training.trainer import EKIPLTrainer

    trainer = EKIPLTrainer(
        setup.policy.model,
        args=args,
        samples=setup.samples,
        processing_class=setup.policy.processor,
        scorer=setup.scorer,
        teachers=setup.teachers,
        options=config.ekipl.options(config.seed),
        records=records,
        gradient_norms_every=config.diagnostics.gradient_norms_every,
        callbacks=[callback],
        peft_config=run_adapter(config, setup.policy),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _prefetcher(
    config: RunConfig, args: Any, setup: RunSetup, trainer: EKIPLTrainer
) -> Prefetcher | None:
    from ekipl_lab.training.prefetch import Prefetcher, PromptSchedule

    if config.prefetch.generations == 0:
        return None
    schedule = PromptSchedule(args, len(setup.samples), setup.plan.steps)
    return Prefetcher(trainer.collector, schedule, generations=config.prefetch.generations)


def _measurer(
    config: RunConfig, folder: Path, setup: RunSetup, steps: int, log: RunLog | None
) -> Measurer:
    from ekipl_lab.benchmarks.mini import MINI_TASKS
    from ekipl_lab.benchmarks.mini.chains import check_chain
    from ekipl_lab.training.evaluator import Measurer

    tasks = {sample.task for samples in setup.sets.values() for sample in samples}
    known = config.data.benchmark == "mini" and tasks <= set(MINI_TASKS)
    checker = check_chain if known and config.evaluation.check_chains else None
    return Measurer(
        config, setup.sets, setup.policy, setup.scorer, folder / "evaluation", steps, log, checker
    )


@contextlib.contextmanager
def _records(log: RunLog | None, step: int) -> Iterator[Any]:
    """The writer of group records, rid of those after ``step``; None but on the main process."""
    if log is None:
        yield None
        return
    from ekipl_lab.records import GroupRecordWriter

    with GroupRecordWriter(log.folder("groups")) as writer:
        writer.discard_after(step)
        yield writer


def _save_final(config: RunConfig, folder: Path, trainer: EKIPLTrainer) -> None:
    from ekipl_lab.policies.load import save_policy

    save_policy(
        trainer.model, trainer.processing_class, folder / "policy", dtype=config.policy.dtype
    )


def _prepare(folder: Path, config: RunConfig, fresh: bool) -> dict[str, Any] | None:
    """The note of an earlier start of this run, or None; refuses what does not fit it."""
    if fresh and folder.is_dir():
        for entry in folder.iterdir():
            if entry.name != "lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    note = read_json(folder / "run.json")
    if note is not None:
        checkpoint.check_same_config(note["config"], config.model_dump(mode="json"), config.name)
        try:
            find_run(note["run_id"])
        except DataError as error:
            raise ConfigError(
                f"Run {config.name!r} was started in MLflow run {note['run_id']}, which is gone; "
                "give --fresh to start anew."
            ) from error
    return note


def _open_log(config: RunConfig, note: dict[str, Any] | None, setup: RunSetup) -> RunLog:
    from ekipl_lab.prompts import prompt_fingerprint

    log = open_run(
        config.tracking.experiment,
        config.name,
        run_params(config),
        config.model_dump(mode="json") | {"grpo": config.grpo_settings},
        {"ekipl.prompts": prompt_fingerprint(), **config.tracking.tags},
        run_id=note["run_id"] if note else None,
    )
    if note is None:
        data = f"{config.data.benchmark}/{config.data.task}"
        log.log_dataset(f"{data}/{config.data.split}", fingerprint(setup.samples), "training")
        for label, samples in setup.sets.items():
            log.log_dataset(f"{data}/{label}", fingerprint(samples), label)
    return log


def _result(config: RunConfig, folder: Path, done: dict[str, Any]) -> TrainResult:
    policy = folder / "policy"
    return TrainResult(
        name=config.name,
        run_id=done["run_id"],
        status=done["status"],
        step=done["step"],
        folder=folder,
        policy=policy if policy.is_dir() and done["status"] == "finished" else None,
        metrics=done["metrics"],
    )


def _hush() -> None:
    """No bars and hints of transformers between the lines of a run; progress comes as events."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
