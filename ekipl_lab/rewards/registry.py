"""Scorers by name: ``SCORERS`` of texts, ``get_scorer`` of samples and actions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ekipl_lab.errors import ConfigError, RewardError, unknown_name
from ekipl_lab.parsing import parse_completion
from ekipl_lab.rewards import reason_rft
from ekipl_lab.rewards.forms import EKIPL_SCORES, Score, format_score
from ekipl_lab.rewards.own import PREFIX, own_scorer
from ekipl_lab.rewards.typed import DEFAULT_WEIGHTS, Scorer, typed_scorer
from ekipl_lab.types import Action, RewardBreakdown, Sample

#: Name -> ``(completion, ground_truth) -> float``.
SCORERS: dict[str, Score] = {
    "reason_rft/train/format": reason_rft.train_format,
    "reason_rft/train/counting": reason_rft.train_accuracy,
    "reason_rft/train/geometry": reason_rft.train_accuracy,
    "reason_rft/train/geometry_numeric": reason_rft.train_geometry_numeric,
    "reason_rft/train/transformation": reason_rft.train_transformation,
    "reason_rft/train/transformation_whole": reason_rft.train_transformation_whole,
    "reason_rft/train/transformation_penalty": reason_rft.train_transformation_penalty,
    "reason_rft/eval/counting": reason_rft.eval_accuracy,
    "reason_rft/eval/geometry": reason_rft.eval_accuracy,
    "reason_rft/eval/transformation": reason_rft.eval_transformation,
    **EKIPL_SCORES,
}

#: The published scores by task: what the released scripts train with, and the evaluator.
BY_TASK: dict[str, dict[str, str]] = {
    "reason_rft/train": {
        "counting": "reason_rft/train/counting",
        "geometry": "reason_rft/train/geometry",
        "transformation": "reason_rft/train/transformation_whole",
    },
    "reason_rft/eval": {
        "counting": "reason_rft/eval/counting",
        "geometry": "reason_rft/eval/geometry",
        "transformation": "reason_rft/eval/transformation",
    },
}

#: Scorers that look at the whole sample.
SAMPLE_SCORERS: dict[str, Callable[[dict[str, float]], Scorer]] = {
    "ekipl/auto": typed_scorer,
    "ekipl/strict": lambda weights: typed_scorer(weights, strict=True),
}


def get_scorer(name: str, weights: Mapping[str, float] | None = None) -> Scorer:
    """The scorer ``(sample, action) -> RewardBreakdown`` of that name.

    ``ekipl/auto`` (default of the library) and ``ekipl/strict`` go by ``Sample.answer_type``,
    ``reason_rft/train`` and ``reason_rft/eval`` by ``Sample.task``; every name of ``SCORERS`` but
    the formats works too, and ``python:FILE.py:FUNCTION`` for a reward of your own (``own.py``).
    ``weights`` replaces the weights 1 and 1 of ``accuracy`` and ``format``; components left out
    weigh 0. Raises ConfigError for an unknown scorer or component, or a weight that is not finite.
    """
    checked = _checked_weights(weights)
    if name.startswith(PREFIX):
        return own_scorer(name, checked)
    if name in SAMPLE_SCORERS:
        return SAMPLE_SCORERS[name](checked)
    if name in BY_TASK:
        return _text_scorer(BY_TASK[name], checked)
    accuracies = [known for known in SCORERS if not known.endswith("/format")]
    if name in accuracies:
        return _text_scorer(name, checked)
    raise unknown_name("scorer", name, (*SAMPLE_SCORERS, *BY_TASK, *accuracies))


def _text_scorer(choice: str | Mapping[str, str], weights: dict[str, float]) -> Scorer:
    """A score of texts as the accuracy component, with the format score of the same family."""

    def score(sample: Sample, action: Action) -> RewardBreakdown:
        name = choice if isinstance(choice, str) else choice.get(sample.task)
        if name is None:
            raise RewardError(f"Sample {sample.id}: the scorer has no form for {sample.task!r}.")
        published = name.startswith("reason_rft/")
        accuracy = SCORERS[name](action.completion, sample.answer)
        value = None if math.isnan(accuracy) else accuracy
        form = reason_rft.train_format if published else format_score
        return RewardBreakdown(
            components={"accuracy": value, "format": form(action.completion, "")},
            weights=weights,
            success=None if value is None else value >= 1.0,
            extracted_answer=_extracted(action.completion, published),
            explanation=name,
        )

    return score


def _extracted(completion: str, published: bool) -> str | None:
    if published:
        return reason_rft.first_answer(completion)
    return parse_completion(completion).answer


def _checked_weights(weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return dict(DEFAULT_WEIGHTS)
    for component, weight in weights.items():
        if component not in DEFAULT_WEIGHTS:
            raise unknown_name("reward component", component, DEFAULT_WEIGHTS)
        if not math.isfinite(weight):
            raise ConfigError(f"The weight of {component!r} is {weight}; it must be finite.")
    return {component: float(weights.get(component, 0.0)) for component in DEFAULT_WEIGHTS}
