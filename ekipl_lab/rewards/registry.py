"""Scorers by name: ``SCORERS`` of texts, ``get_scorer`` of samples and actions.

The corrected scores, ``ekipl/...``, are strict where the published ones are not: one answer, in its
tags, outside the reasoning, of the right type and nothing else in it. NaN where an answer could not
be judged in time, RewardError where the ground truth cannot be scored; neither ever becomes 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ekipl_lab.errors import ConfigError, RewardError, unknown_name
from ekipl_lab.parsing import Parsed, parse_completion
from ekipl_lab.rewards.matchers import Match, Truth, read_letter, read_number
from ekipl_lab.rewards.own import PREFIX, own_scorer
from ekipl_lab.rewards.reason_rft import REASON_RFT_SCORES, first_answer, train_format
from ekipl_lab.rewards.typed import (
    DEFAULT_WEIGHTS,
    MATCHERS,
    STRICT_MATCHERS,
    Judge,
    Matcher,
    breakdown,
    matched,
    scorer_of,
    typed_scorer,
)
from ekipl_lab.types import Action, RewardBreakdown, Sample, Scorer

#: ``(completion, ground_truth) -> float``.
Score = Callable[[str, str], float]


def format_score(completion: str, ground_truth: str = "") -> float:
    """1 for exactly one think and one answer block, both with text, and nothing around them."""
    return float(parse_completion(completion).format_ok)


def score_with(matcher: Matcher) -> Score:
    """The score of a completion's answer under a matcher; the truth is checked in any case."""

    def score(completion: str, ground_truth: str) -> float:
        answer = parse_completion(completion).answer
        match = matcher(answer or "", Truth(ground_truth))
        if answer is None:
            return 0.0
        return math.nan if match.value is None else match.value

    return score


def match_geometry(answer: str, truth: Truth) -> Match:
    """By the truth: a letter A to E, a number (with unit), else mathematics."""
    if len(truth.text.strip()) == 1 and (read_letter(truth.text) or "Z") <= "E":
        return MATCHERS["letter"](answer, truth)
    return MATCHERS["math" if read_number(truth.text) is None else "number"](answer, truth)


#: The corrected scores: by answer type, then by task.
_MATCHERS: dict[str, Matcher] = {
    **MATCHERS,
    "calls_strict": STRICT_MATCHERS["calls"],
    "counting": MATCHERS["number"],
    "geometry": match_geometry,
    "transformation": MATCHERS["calls"],
    "transformation_strict": STRICT_MATCHERS["calls"],
}

SCORERS: dict[str, Score] = {
    **{f"reason_rft/{name}": score for name, score in REASON_RFT_SCORES.items()},
    "ekipl/format": format_score,
    **{f"ekipl/{name}": score_with(matcher) for name, matcher in _MATCHERS.items()},
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

_BY_TYPE = ("ekipl/auto", "ekipl/strict")


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
    if name in _BY_TYPE:
        return typed_scorer(checked, strict=name == "ekipl/strict")
    accuracies = [known for known in SCORERS if not known.endswith("/format")]
    if name not in (*BY_TASK, *accuracies):
        raise unknown_name("scorer", name, (*_BY_TYPE, *BY_TASK, *accuracies))
    if name.startswith("reason_rft/"):
        return _published_scorer(name, checked)
    return scorer_of(_judge(_MATCHERS[name.removeprefix("ekipl/")]), checked)


def check_scorer(name: str, samples: Sequence[Sample]) -> None:
    """Raise RewardError or ConfigError if a scorer by name cannot score these samples' truths.

    Those that go by answer type are for `check_ground_truths`; your own is called once, with the
    first truth, so that one that cannot work fails before anything is trained.
    """
    if name in _BY_TYPE or not samples:
        return
    scorer = get_scorer(name)

    def worth_of(sample: Sample) -> RewardBreakdown:
        text = f"<think>.</think><answer>{sample.answer}</answer>"
        return scorer(sample, Action(text, "check", "check"))

    if name.startswith(PREFIX):
        worth_of(samples[0])
        return
    worth = (worth_of(sample) for sample in samples)
    values = worth if name.startswith("reason_rft/") else list(worth)  # the published never raise
    if not any(value.components["accuracy"] != 0.0 for value in values):
        raise ConfigError(
            f"Scorer {name!r} gives 0 to every ground truth, as {samples[0].answer!r} of sample "
            f"{samples[0].id}; choose one for answers of type {samples[0].answer_type}."
        )


def _judge(matcher: Matcher) -> Judge:
    """As `score_with`, with the tolerance, unit and choices of the sample."""

    def judge(sample: Sample, completion: str, parsed: Parsed) -> Match:
        match = matched(matcher, sample, parsed.answer or "")  # the truth is checked in any case
        return match if parsed.answer is not None else Match(0.0, "no answer")

    return judge


def _judged(name: str, sample: Sample, completion: str) -> Match:
    value = SCORERS[name](completion, sample.answer)
    return Match(None if math.isnan(value) else value, name)


def _published_scorer(name: str, weights: dict[str, float]) -> Scorer:
    """A published score as the accuracy component, with the published format and first answer."""

    def score(sample: Sample, action: Action) -> RewardBreakdown:
        chosen = BY_TASK[name].get(sample.task) if name in BY_TASK else name
        if chosen is None:
            raise RewardError(f"Sample {sample.id}: the scorer has no form for {sample.task!r}.")
        match = _judged(chosen, sample, action.completion)
        form, answer = train_format(action.completion), first_answer(action.completion)
        return breakdown(match, form, answer, weights)

    return score


def _checked_weights(weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return dict(DEFAULT_WEIGHTS)
    for component, weight in weights.items():
        if component not in DEFAULT_WEIGHTS:
            raise unknown_name("reward component", component, DEFAULT_WEIGHTS)
        if not math.isfinite(weight):
            raise ConfigError(f"The weight of {component!r} is {weight}; it must be finite.")
    return {component: float(weights.get(component, 0.0)) for component in DEFAULT_WEIGHTS}
