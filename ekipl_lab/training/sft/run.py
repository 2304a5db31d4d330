"""The supervised warm start of the tiny policy: one resumable command through all stages.

    ekipl sft --config configs/sft_counting.yaml

The same configuration and seed see the same samples in the same order, resumed or not.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES
from ekipl_lab.errors import unknown_name
from ekipl_lab.policies.save import save_policy
from ekipl_lab.training.sft.config import SFTConfig
from ekipl_lab.training.sft.data import Example, parse_mixture
from ekipl_lab.training.sft.lowest import Lowest
from ekipl_lab.training.sft.warm_start import WarmStart

Log = Callable[[dict[str, float | str]], None]
#: Called with what is done, how much of it, and how much there is.
Watch = Callable[[str, int, int], None]


def run_sft(
    config: SFTConfig,
    *,
    log: Log | None = None,
    watch: Watch | None = None,
    examples: Sequence[Example] = (),
    held_out: Sequence[Example] = (),
    lowest: Lowest | None = None,
) -> Path:
    """Run or resume all stages and save the policy (half precision); returns its folder.

    ``examples`` are learned in place of what the stages' mixtures say. ``log`` gets the means of
    the losses every 50 steps, and the seconds so far; ``watch`` is called every step. With
    ``lowest`` the policy of the lowest loss on ``held_out`` is kept, in recipes of one stage.
    """
    torch.set_num_threads(config.threads)
    if not examples:
        _check_recipe(config)
    run = WarmStart(config, examples)
    if lowest is None:
        return finish(run, log, watch)
    _run_stage(run, log, watch, lowest, held_out)
    shutil.rmtree(config.output, ignore_errors=True)
    return Path(shutil.copytree(lowest.policy, config.output))


def _check_recipe(config: SFTConfig) -> None:
    """ConfigError for a task or a mixture that is not there, of the last stage too."""
    if config.task not in MINI_TASKS:
        raise unknown_name("task", config.task, MINI_TASKS)
    for stage in config.stages:
        parse_mixture(stage.mixture, config.task, CHAIN_STYLES)


def finish(run: WarmStart, log: Log | None, watch: Watch | None = None) -> Path:
    """Go through the stages that are left, and save the policy; returns its folder."""
    while True:
        _run_stage(run, log, watch)
        if not run.next_stage():
            break
    return save_policy(run.model.eval(), run.processor, run.config.output)


def _run_stage(
    run: WarmStart,
    log: Log | None,
    watch: Watch | None,
    lowest: Lowest | None = None,
    held_out: Sequence[Example] = (),
) -> None:
    stage, mean = run.stage, _Running()

    def look() -> None:
        if lowest is None or not lowest.due(run.step, stage.steps):
            return
        loss = run.loss_on(held_out)
        lowest.add(run.step, loss, lambda folder: save_policy(run.model, run.processor, folder))
        run.save()
        lowest.keep()
        if log is not None:
            row = {"step": run.step, "seconds": run.seconds, "validation_loss": loss}
            log({"stage": stage.name, **row})

    if lowest is not None:
        lowest.begin(run.step)
    look()
    while run.step < stage.steps and not (lowest is not None and lowest.stop):
        begin = time.monotonic()
        mean.add(run.train_step())
        run.seconds += time.monotonic() - begin
        if watch is not None:
            watch(stage.name, run.step, stage.steps)
        if run.step % 50 == 0 or run.step == stage.steps:
            numbers = mean.take()
            if log is not None:
                log({"stage": stage.name, "step": run.step, "seconds": run.seconds, **numbers})
        if run.step % run.config.save_every == 0 or run.step == stage.steps:
            run.save()
        look()


class _Running:
    """Means of named numbers since the last look."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self._values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        means = {name: sum(values) / len(values) for name, values in self._values.items()}
        self._values = {}
        return means


def log_to(path: Path) -> Log:
    """Append rows to a file of JSON lines; after a kill some steps come twice, the last counts."""

    def write(row: dict[str, float | str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    return write
