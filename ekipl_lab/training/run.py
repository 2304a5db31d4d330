"""One training run from its config: started, interrupted, continued, finished.

    result = train(load_config("configs/demo_ekipl.yaml"))

Each step once, in this order: check (`config.check`), samples, plan (`config.plan`), setup
(`setup`), fit (`fit`), result. The same call continues an interrupted run: same MLflow run, from
the last whole checkpoint, to the same bits on a CPU. Interrupting (Ctrl-C, SIGTERM, ``stop``) ends
after the current step and saves; a second Ctrl-C ends at once and loses the steps since the last
checkpoint, as kill -9 does.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from ekipl_lab.errors import ConfigError
from ekipl_lab.prompts import prompt_fingerprint
from ekipl_lab.tracking import RunLog, client, store_folder
from ekipl_lab.tracking.pages import NOTE_TAG, app_link, arrange_list
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.check import CheckedRun, check_run
from ekipl_lab.training.config.longer import as_now, extended
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import world_size
from ekipl_lab.training.fit import fit
from ekipl_lab.training.guards import interruptible, only_one
from ekipl_lab.training.inputs import (
    check_inputs,
    check_start,
    code_changes,
    log_inputs,
    log_left_out,
    note_code_changes,
)
from ekipl_lab.training.ranks import check_shared, on_main
from ekipl_lab.training.run_data import left_out_lines, load_training_samples
from ekipl_lab.training.setup import RunSetup, build_setup
from ekipl_lab.training.starts import beginning, noted_run, read_note, undone
from ekipl_lab.types import Sample

#: Tag: the steps that a run was made longer to; its parameter max_steps keeps the first number.
EXTENDED_TAG = "ekipl.extended_to"


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
    emit = on_event or (lambda event: None)
    silence_transformers()
    check_alone(config)
    run = check_run(config, store_folder() / "work" / config.name)
    is_main = run.args.process_index == 0
    with contextlib.ExitStack() as stack:
        on_main(lambda: stack.enter_context(only_one(run.folder)))
        signals = stack.enter_context(interruptible(stop))
        check_shared(run.folder)
        note, ended = on_main(
            lambda: beginning(
                run.folder, config.name, config.model_dump(mode="json"), fresh=fresh,
                as_now=lambda before: as_now(before, config),
            )
        )  # fmt: skip
        if ended is not None and not extended(note, config):
            on_main(lambda: check_start(note, config))
            emit({"event": "finish", "phase": "finished", "run_id": ended["run_id"]})
            return _result(run, ended)
        left_out: list[str] = []
        with undone(run.folder, note, is_main):
            samples = load_training_samples(config, left_out.append)
            plan = plan_run(config, len(samples), run.sizes)
            setup = build_setup(run, plan, samples, left_out)
            on_main(lambda: check_inputs(note, config, _sets(setup)))
        changes = on_main(lambda: code_changes(note, config))

        def say(text: str) -> None:
            emit({"event": "message", "phase": "starting", "step": 0, "total": plan.steps,
                  "metrics": {}, "text": text})  # fmt: skip

        if is_main:
            for text in left_out_lines(left_out):
                say(text)
        with _run_log(setup, note, is_main) as log:
            if log is not None:
                emit({"event": "start", "phase": "starting", "run_id": log.run_id})
                note_code_changes(log, changes, config, say)
            end = fit(setup, log, emit, signals.wanted)
            if not end.finished:
                if signals.interrupted:
                    raise KeyboardInterrupt
                if log is not None:
                    log.close("KILLED")
        run_id = (read_note(run.folder / "run.json") or {}).get("run_id", "")
        status = "finished" if end.finished else "stopped"
        ended = {"run_id": run_id, "status": status, "step": end.step, "metrics": end.metrics}
        if end.finished and is_main:
            checkpoint.write_note(run.folder / "result.json", ended)
        emit({"event": "finish", "phase": status, "run_id": run_id})
        return _result(run, ended)


def check_alone(config: RunConfig) -> None:
    """ConfigError for settings of stages, which one run of the trainer does not have."""
    for key in ("recipe", "sft"):
        if getattr(config, key) is not None:
            raise ConfigError(
                f"{config.name}: {key} is of a recipe's stages, which `ekipl train` runs "
                "(`--recipe NAME`, or `recipe:` in the file); leave it out for the trainer alone."
            )


def run_params(config: RunConfig) -> dict[str, Any]:
    """The twenty or so settings by which runs are told apart."""
    grpo = config.grpo_settings
    chosen = ("num_generations", "learning_rate", "beta", "loss_type", "num_iterations",
              "temperature", "max_completion_length", "max_steps",
              "per_device_train_batch_size", "gradient_accumulation_steps")  # fmt: skip
    return {
        "method": "ekipl" if config.teachers else "grpo",
        "policy": config.policy.path or f"built {config.policy.build}",
        "trained": _trained(config),
        "task": config.data.task,
        "families": ",".join(config.data.families or ("all",)),
        "seed": config.seed,
        "teachers": ",".join(f"{t.id}x{t.actions}" for t in config.teachers) or "none",
        "selection": config.ekipl.selection,
        "weighting": config.ekipl.weighting,
        "baseline": config.ekipl.baseline,
        "scorer": config.reward.scorer,
        "processes": world_size(),
        **{name: grpo[name] for name in chosen if name in grpo},
    }


def describe_run(config: RunConfig) -> str:
    """What the run is, in a sentence: its description in MLflow."""
    policy = config.policy.path or f"a new {config.policy.build}"
    by = ", ".join(f"{one.id} ({one.type})" for one in config.teachers)
    taught = f"teachers {by}, selection {config.ekipl.selection}" if by else "no teachers"
    method = "EKIPL" if config.teachers else "GRPO"
    return f"{method} from {policy} on {config.data.benchmark}/{config.data.task}: {taught}."


def _trained(config: RunConfig) -> str:
    """What of the policy is trained, in a word or two."""
    own = config.policy
    if own.adapter is not None:
        return f"{'qlora' if own.quantize != 'none' else 'lora'} r={own.adapter.rank}"
    if set(own.frozen) == {"vision", "projector"}:
        return "all but vision"
    return f"all but {', '.join(own.frozen)}" if own.frozen else "all"


def _sets(setup: RunSetup) -> dict[str, Sequence[Sample]]:
    """Context -> samples of a run."""
    return {"training": setup.samples, **setup.sets}


@contextlib.contextmanager
def _run_log(
    setup: RunSetup, note: Mapping[str, Any] | None, is_main: bool
) -> Iterator[RunLog | None]:
    """The run's log in MLflow, noted in its folder; None but on the main process."""
    if not is_main:
        yield None
        return
    config, folder = setup.run.config, setup.run.folder
    settings = config.model_dump(mode="json")

    def first(log: RunLog) -> None:
        log_inputs(log, config, _sets(setup))
        log_left_out(log, setup.left_out)

    opened = (
        config.tracking.experiment,
        config.name,
        run_params(config),
        settings | {"grpo": config.grpo_settings},
    )
    tags = {"ekipl.prompts": prompt_fingerprint(), **config.tracking.tags}
    with noted_run(folder, note, settings, opened=opened, tags=tags, first=first) as log:
        log.set_tags({NOTE_TAG: f"{describe_run(config)} {app_link(log.run_id)}"})
        arrange_list(client(), log.experiment_id, list(setup.sets))
        if extended(note, config):
            log.set_tags({EXTENDED_TAG: str(config.grpo["max_steps"])})
            (folder / "result.json").unlink(missing_ok=True)
        yield log


def _result(run: CheckedRun, ended: Mapping[str, Any]) -> TrainResult:
    policy = run.folder / "policy"
    whole = policy.is_dir() and ended["status"] == "finished"
    return TrainResult(
        name=run.config.name, folder=run.folder, policy=policy if whole else None, **ended
    )


def silence_transformers() -> None:
    """No bars and hints of transformers between the lines of a run; progress comes as events."""
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
