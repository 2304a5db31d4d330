"""A supervised stage by the tiny policies' own loop: whether that can be, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.image_files import sizes_of
from ekipl_lab.errors import ConfigError
from ekipl_lab.images import IMAGE_MARK
from ekipl_lab.plots.metrics import SUPERVISED_SECONDS
from ekipl_lab.policies.load import Policy
from ekipl_lab.policies.processor import ImageOnlyQwen2VLProcessor
from ekipl_lab.prompts import prompt_text
from ekipl_lab.tracking import RunLog
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import world_size
from ekipl_lab.training.run_policy import save_start
from ekipl_lab.training.sft.config import SFTConfig
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.fit import Lesson
from ekipl_lab.training.sft.run import run_sft


def own_loop(
    config: RunConfig, settings: ActionSFT, policy: Policy, examples: Sequence[Example]
) -> bool:
    """Whether the tiny policies' own loop learns; ConfigError where it is asked for and cannot."""
    against = _against_own_loop(config, policy, examples)
    if settings.trainer == "own" and against:
        raise ConfigError(f"sft.trainer is own, which cannot be: {against}; set sft.trainer=trl.")
    rates = {"matrix_lr", "rest_lr"} & settings.model_fields_set
    if settings.trainer == "trl" or against:
        if rates:
            why = f"it learns by TRL's: {against}" if against else "sft.trainer is trl"
            raise ConfigError(
                f"sft.{sorted(rates)[0]} is of the tiny policies' own loop, and {why}; set "
                "sft.learning_rate instead."
            )
        return False
    if settings.learning_rate != ActionSFT().learning_rate:
        raise ConfigError(
            "sft.learning_rate is of TRL's loop, and this policy learns by its own; set "
            "sft.matrix_lr and sft.rest_lr instead, or sft.trainer=trl."
        )
    return True


def _against_own_loop(config: RunConfig, policy: Policy, examples: Sequence[Example]) -> str:
    """Why the own loop cannot learn the examples; empty if it can."""
    own, images = config.policy, policy.processor.image_processor
    if not isinstance(policy.processor, ImageOnlyQwen2VLProcessor) or images.merge_size != 1:
        return "the policy is not one of the tiny ones"
    if own.adapter is not None or own.frozen or own.dtype != "float32" or world_size() > 1:
        return "it trains all weights in float32 in one process"
    side = int(images.size["shortest_edge"] ** 0.5)
    samples = [example.sample for example in examples]
    if config.data.benchmark != "mini":
        return "it knows the built-in benchmark only"
    if any(size != (side, side) for sample in samples for size in sizes_of(sample)):
        return f"it takes pictures of {side} x {side} pixels only"
    if len({len(sample.images) for sample in samples}) > 1:
        return "it takes one number of pictures only"
    bare = all(prompt_text(s) == s.question and IMAGE_MARK not in s.question for s in samples)
    return "" if bare else "it asks the bare question, pictures first"


def fit_own(lesson: Lesson, log: RunLog | None, emit: Callable[[Mapping[str, Any]], None]) -> int:
    """The tiny policies' own loop; the step it ended at."""
    config, steps, lowest = lesson.config, lesson.stage.steps, lesson.lowest

    def show(row: Mapping[str, Any]) -> None:
        step, names = int(row["step"]), {"text_loss": "loss", "validation_loss": "validation_loss"}
        metrics = {shown: row[name] for name, shown in names.items() if name in row}
        if log is not None:
            log.log_metrics({**metrics, SUPERVISED_SECONDS: row["seconds"]}, step)
        emit({"event": "progress", "phase": "supervised", "step": step, "total": steps,
              "metrics": metrics})  # fmt: skip

    side = lesson.policy.processor.image_processor.size["shortest_edge"] ** 0.5
    plan = SFTConfig(
        name=config.name,
        task=config.data.task,
        seed=config.seed,
        image_size=int(side),
        init=Path(save_start(config, lesson.folder)),
        work_dir=lesson.folder / "state",
        output=lesson.folder / "policy",
        save_every=config.tracking.checkpoint_every,
        stages=[lesson.stage],
    )
    run_sft(plan, log=show, examples=lesson.examples, held_out=lesson.held_out, lowest=lowest)
    return steps if lowest is None else max(lowest.losses)
