"""The corrected scores, ``ekipl/...``, as functions of completion and ground truth.

Strict where the published ones are not: one answer, in its tags, outside the reasoning, of the
right type and nothing else in it. NaN where an answer could not be judged in time, RewardError
where the ground truth cannot be scored; neither ever becomes 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ekipl_lab.parsing import parse_completion
from ekipl_lab.rewards.matchers import (
    Match,
    Truth,
    match_letter,
    match_number,
    read_letter,
    read_number,
)
from ekipl_lab.rewards.mathematics import match_math
from ekipl_lab.rewards.typed import MATCHERS, STRICT_MATCHERS, Matcher

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
        return match_letter(answer, truth)
    if read_number(truth.text) is not None:
        return match_number(answer, truth)
    return match_math(answer, truth)


EKIPL_SCORES: dict[str, Score] = {
    "ekipl/format": format_score,
    "ekipl/number": score_with(MATCHERS["number"]),
    "ekipl/numbers": score_with(MATCHERS["numbers"]),
    "ekipl/letter": score_with(MATCHERS["letter"]),
    "ekipl/text": score_with(MATCHERS["text"]),
    "ekipl/math": score_with(MATCHERS["math"]),
    "ekipl/calls": score_with(MATCHERS["calls"]),
    "ekipl/calls_strict": score_with(STRICT_MATCHERS["calls"]),
    "ekipl/counting": score_with(MATCHERS["number"]),
    "ekipl/geometry": score_with(match_geometry),
    "ekipl/transformation": score_with(MATCHERS["calls"]),
    "ekipl/transformation_strict": score_with(STRICT_MATCHERS["calls"]),
}
