"""The policy measured before supervised steps and after them, as a run of the trainer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from ekipl_lab.policies.load import Policy, load_policy
from ekipl_lab.tracking import RunLog, client
from ekipl_lab.tracking.pages import arrange_list
from ekipl_lab.training.config.plan import samples_at
from ekipl_lab.training.evaluator import Evaluator, Measured
from ekipl_lab.training.guards import Stopped
from ekipl_lab.training.sft.fit import Lesson
from ekipl_lab.types import Sample, Scorer


class Looks:
    """Measures the policy of a supervised run in ``folder`` on ``sets``; without any, nothing."""

    def __init__(
        self,
        lesson: Lesson,
        scorer: Scorer,
        sets: Mapping[str, Sequence[Sample]],
        log: RunLog,
        emit: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._config, self._folder, self._sets = lesson.config, lesson.folder, sets
        self._scorer, self._log, self._emit = scorer, log, emit
        if sets:
            arrange_list(client(), log.experiment_id, list(sets))

    def before(self, policy: Policy) -> None:
        """The policy that the steps start from, if ``evaluation.at_start``."""
        if not self._config.evaluation.at_start:
            return
        self._look(policy, 0, lambda: False)

    def after(self, step: int, wanted: Callable[[], bool]) -> dict[str, float]:
        """The policy that they left, if ``evaluation.at_end``: its metrics; it is registered.

        `Stopped` where ``wanted()``, which is asked after every batch.
        """
        if not (self._sets and self._config.evaluation.at_end):
            return {}
        own, folder = self._config.policy, self._folder / "policy"
        policy = load_policy(folder, dtype=own.dtype, attention=own.attn_implementation)
        return self._look(policy, step, wanted)

    def _look(self, policy: Policy, step: int, wanted: Callable[[], bool]) -> dict[str, float]:
        if not self._sets:
            return {}
        config = self._config
        evaluator = Evaluator(
            Measured(
                config, self._folder, self._sets, {step: samples_at(config, step, max(step, 1))},
                policy, self._scorer,
            ),
            self._log,
        )  # fmt: skip
        if not evaluator.done(step):
            if torch.cuda.is_available() and config.policy.quantize == "none":
                policy.model.to("cuda")
            found = evaluator.run(step, partial(self._watch, wanted))
            if step:
                shown = {k: v for k, v in found.items() if k.count("/") == 2}
                self._log.log_checkpoint(self._folder / "policy", step, shown)
            evaluator.finish(step, found)
        return evaluator.metrics(step)

    def _watch(self, wanted: Callable[[], bool], part: str, done: int, total: int) -> None:
        self._emit({"event": "progress", "phase": "evaluation", "part": part, "step": done,
                    "total": total, "metrics": {}})  # fmt: skip
        if wanted():
            raise Stopped
