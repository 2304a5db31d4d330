"""A supervised stage of any policy: what it learns is collected once, then learned; resumable.

    supervise(load_config("configs/qwen2_5_vl_3b_16gb.yaml"), ActionSFT(learn="answers"))

The folder ``mlruns/work/<name>`` is that of a run (`checkpoint`), with ``taught.json``, what is
learned. The result is ``policy``, whole weights that training and evaluation take; where an adapter
was trained it lies beside it in ``adapter``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ekipl_lab.errors import ConfigError
from ekipl_lab.policies.average import average_policies
from ekipl_lab.policies.save import merge_adapter, scale_adapter
from ekipl_lab.prompts import prompt_fingerprint
from ekipl_lab.tracking import RunLog, store_folder
from ekipl_lab.tracking.pages import NOTE_TAG
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.run_config import RunConfig, parse_config
from ekipl_lab.training.evaluator import measured_at
from ekipl_lab.training.guards import Stopped, interruptible, only_one
from ekipl_lab.training.inputs import (
    check_inputs,
    code_changes,
    log_inputs,
    log_left_out,
    note_code_changes,
)
from ekipl_lab.training.ranks import check_shared, on_main
from ekipl_lab.training.run import run_params, silence_transformers
from ekipl_lab.training.run_data import left_out_lines
from ekipl_lab.training.run_policy import save_start
from ekipl_lab.training.sft.actions import Taught
from ekipl_lab.training.sft.config import Stage
from ekipl_lab.training.sft.fit import Lesson, fit_trl
from ekipl_lab.training.sft.looks import Looks
from ekipl_lab.training.sft.lowest import Lowest
from ekipl_lab.training.sft.own_loop import fit_own
from ekipl_lab.training.sft.prepare import Data, can_measure, load_data, prepare
from ekipl_lab.training.sft.trainer import trl_arguments
from ekipl_lab.training.starts import beginning, noted_run, undone

Emit = Callable[[Mapping[str, Any]], None]
#: Parameters that an MLflow run of supervised steps shares with one of the trainer.
_PARAMS = ("policy", "trained", "task", "families", "seed", "teachers", "scorer", "processes")


@dataclass(frozen=True, slots=True)
class Supervised:
    """How a stage ended: ``status`` finished or stopped; ``policy`` where it is finished.

    ``chains``: completions gone through; ``costs`` on the axes of `GroupCosts`; ``metrics`` those
    of the policy at the end, where it was measured.
    """

    run_id: str
    status: str
    steps: int
    folder: Path
    chains: int
    costs: Mapping[str, float]
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """The step it ended at, as that of a run of the trainer."""
        return self.steps

    @property
    def is_measured(self) -> bool:
        """Whether its folder holds a whole evaluation."""
        return bool(measured_at(self.folder))

    @property
    def policy(self) -> Path:
        """The folder of the policy."""
        return self.folder / "policy"


def supervise(
    config: RunConfig,
    settings: ActionSFT,
    *,
    on_event: Emit | None = None,
    stop: Callable[[], bool] | None = None,
    fresh: bool = False,
    measure: bool = False,
) -> Supervised:
    """Learn, or go on learning; a finished stage is not done again unless ``fresh``.

    Arguments, events and errors are those of `training.run.train`; ``stop`` is asked after every
    step of TRL's trainer. ``measure``: the policy is measured before and after, as
    ``config.evaluation`` says (``every`` is of the trainer alone).
    """
    emit = on_event or (lambda event: None)
    silence_transformers()
    folder = store_folder() / "work" / config.name
    args = trl_arguments(config, settings, folder)
    asked = config.model_dump(mode="json") | {"sft": settings.model_dump(mode="json")}
    main = args.process_index == 0
    with contextlib.ExitStack() as stack:
        on_main(lambda: stack.enter_context(only_one(folder)))
        check_shared(folder)
        note, ended = on_main(
            lambda: beginning(folder, config.name, asked, fresh=fresh, as_now=_as_now)
        )
        with undone(folder, note, main):
            data = load_data(config, measure=measure)
            on_main(lambda: check_inputs(note, config, data.contexts))
            if ended is not None:
                _check_measured(config, folder, data)
                emit({"event": "finish", "phase": "finished", "run_id": ended["run_id"]})
                return Supervised(folder=folder, **ended)
            changes = on_main(lambda: code_changes(note, config))
            ready = prepare(config, settings, data, folder, measure=measure)
        policy, taught, learned, held_out, own = (
            ready.policy, ready.taught, ready.learned, ready.held_out, ready.own,
        )  # fmt: skip
        if measure and not can_measure():
            _say(emit, f"{config.name} is not measured by its processes; `ekipl eval` does that.")
        looked = settings.validate_every, settings.patience
        lowest = Lowest(folder / "lowest", *looked) if held_out else None
        stage = stage_of(settings, learned)
        lesson = Lesson(
            config, args, folder, policy, stage, learned.examples, held_out, lowest
        )  # fmt: skip
        metrics: Mapping[str, float] = {}
        with _run_log(lesson, settings, data, note, asked) as log:
            run_id = "" if log is None else log.run_id
            emit({"event": "start", "phase": "starting", "run_id": run_id})
            if log is not None:
                note_code_changes(log, changes, config, lambda text: _say(emit, text))
            for text in left_out_lines(data.left_out) if log is not None else ():
                _say(emit, text)
            _say_left_out(taught, log, emit)
            looks = None if log is None else Looks(lesson, ready.scorer, data.sets, log, emit)
            if looks is not None:
                looks.before(policy)
            signals = None if own else stack.enter_context(interruptible(stop))
            wanted = stop or (lambda: False) if signals is None else signals.wanted
            if own:
                step, finished = fit_own(lesson, log, emit), True
            else:
                step, finished = fit_trl(lesson, log, emit, wanted)
            if finished and settings.average < 1:
                on_main(lambda: _average(config, folder, settings.average))
            if finished and looks is not None:
                try:
                    metrics = looks.after(step, wanted)
                except Stopped:
                    finished = False
            if not finished and signals is not None and signals.interrupted:
                raise KeyboardInterrupt
            chains = step * stage.batch_size
            costs = {
                "teacher_actions": taught.teacher_actions,
                "teacher_tokens": taught.teacher_tokens,
                "policy_completions": taught.policy_completions,
                "policy_tokens": taught.policy_tokens,
                "trained_tokens": learned.trained_tokens(step, stage.batch_size),
            }
            if log is not None and finished:
                log.log_metrics({f"cost/{axis}": float(n) for axis, n in costs.items()}, step)
            elif log is not None:
                log.close("KILLED")
        status = "finished" if finished else "stopped"
        end: dict[str, Any]
        end = {"run_id": run_id, "status": status, "steps": step, "chains": chains, "costs": costs,
               "metrics": dict(metrics)}  # fmt: skip
        if finished and log is not None:
            checkpoint.write_note(folder / "result.json", end)
        emit({"event": "finish", "phase": status, "run_id": run_id})
        return Supervised(folder=folder, **end)


def _average(config: RunConfig, folder: Path, share: float) -> None:
    """Average what was learned with the start; an adapter, and its merged policy, alike."""
    policy = folder / "policy"
    if config.policy.adapter is None:
        average_policies(save_start(config, folder), policy, share, policy)
    else:
        merge_adapter(scale_adapter(folder / "adapter", share), policy)


def _as_now(before: dict[str, Any]) -> dict[str, Any]:
    """An earlier start's settings with today's defaults for keys that there were not then."""
    if not before.get("sft"):
        return before  # a run of the trainer
    with contextlib.suppress(ConfigError, ValidationError):
        own = ActionSFT.model_validate(before["sft"]).model_dump(mode="json")
        rest = {key: value for key, value in before.items() if key != "sft"}
        return parse_config(rest).model_dump(mode="json") | {"sft": own}
    return before


def stage_of(settings: ActionSFT, taught: Taught) -> Stage:
    """The steps over what is learned; their recipe knows the examples by a digest."""
    said = [(e.sample.id, e.completion, e.weight) for e in taught.examples]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
    return Stage(
        name="actions",
        steps=max(1, math.ceil(len(taught.examples) * settings.epochs / settings.batch_size)),
        mixture={f"teacher actions {digest}": 1.0},
        **settings.model_dump(include={"batch_size", "matrix_lr", "rest_lr", "warmup", "final"}),
    )


def _check_measured(config: RunConfig, folder: Path, data: Data) -> None:
    """ConfigError for a finished run that was not measured, as one of `ekipl sft` is not."""
    if data.sets and config.evaluation.at_end and not measured_at(folder):
        raise ConfigError(
            f"Run {config.name!r} is finished, and its policy was not measured; `ekipl eval` "
            "measures it, or give --fresh to train and measure anew."
        )


@contextlib.contextmanager
def _run_log(
    lesson: Lesson,
    settings: ActionSFT,
    data: Data,
    note: Mapping[str, Any] | None,
    asked: dict[str, Any],
) -> Iterator[RunLog | None]:
    """The stage's log in MLflow; None but on the main process."""
    config = lesson.config
    if lesson.args.process_index != 0:
        yield None
        return
    shared = run_params(config)
    chosen = {name: shared[name] for name in _PARAMS}
    said = settings.model_dump(mode="json", exclude_defaults=True)
    params = {"method": f"sft {settings.learn}", **chosen, "steps": lesson.stage.steps}
    params |= {f"sft.{key}": value for key, value in said.items()}
    what = f"{config.data.benchmark}/{config.data.task}"
    about = f"SFT on {settings.learn} from {chosen['policy']} on {what}."
    tags = {"ekipl.prompts": prompt_fingerprint(), NOTE_TAG: about, **config.tracking.tags}

    def first(log: RunLog) -> None:
        log_inputs(log, config, data.contexts)
        log_left_out(log, data.left_out)

    opened = (
        config.tracking.experiment, config.name, params, asked | {"grpo": config.grpo_settings}
    )  # fmt: skip
    with noted_run(lesson.folder, note, asked, opened=opened, tags=tags, first=first) as log:
        yield log


def _say_left_out(taught: Taught, log: RunLog | None, emit: Emit) -> None:
    """How many completions are not learned, by reason."""
    if log is None or not taught.refused:
        return
    log.log_metrics({f"sft/left_out/{why}": float(n) for why, n in taught.refused.items()}, 0)
    reasons = ", ".join(f"{why} {n}" for why, n in sorted(taught.refused.items()))
    text = f"{sum(taught.refused.values())} completions are not learned ({reasons})."
    _say(emit, text)


def _say(emit: Emit, text: str) -> None:
    emit({"event": "message", "phase": "supervised", "step": 0, "metrics": {}, "text": text})
