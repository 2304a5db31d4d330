"""The scores of Reason-RFT (arXiv 2503.20752) as published, quirks included: ``reason_rft/...``.

For comparison with published numbers. ``ekipl/...`` are the corrected forms. The quirks, all kept:

- format (training): tags may be repeated inside the blocks; only the frame is looked at.
- accuracy: the *first* answer tags count, and math-verify is asked in training only where there
  are none; then it reads the whole text, so that any expression in it may match.
- numeric (training; in the published code, not used by its scripts): a truth of 0 met exactly
  divides by zero and gives 0; "nan" gives NaN; Python's own number syntax (``1_000``) is read.
- transformation (training): repeated calls lower the score; the truth's tags are not looked for.
- transformation (evaluation): the answer's tags must be on one line, else the whole text counts,
  calls in the think part included; repeated calls are free; a truth without calls gives 0.

The published code matches calls over an unordered set, so that its result can change from run to
run; here the first occurrence goes first. Its math-verify has a limit of wall time, here it is CPU
time (``mathematics.py``); texts longer than MAX_TEXT_CHARS are not compared. Both count as
unequal, as a timeout does there. Everything else is linear in the length of the text.

``(completion, ground_truth) -> float``; never raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial

from ekipl_lab.parsing import ANSWER_CLOSE, ANSWER_OPEN, THINK_OPEN
from ekipl_lab.rewards.mathematics import math_equal

MAX_TEXT_CHARS = 20_000

Triple = tuple[str, str, str]

#: Weights of a whole call, function and object, function and value, function only.
PARTIAL = (1.0, 0.5, 0.5, 0.25)
WHOLE = (1.0, 0.0, 0.0, 0.0)
PENALTY = (1.0, -0.25, -0.25, -0.5)

_SEPARATOR = re.compile(r"</think>\s*<answer>")
# A call as the published pattern finds it, without its quadratic search.
_CALL = re.compile(r"(?<!\w)(\w++)\((\w++),\s*+'?(\w++)'?\)")


def first_answer(text: str) -> str | None:
    """The stripped text between the first answer tags, over lines; None if there are none."""
    start = text.find(ANSWER_OPEN)
    end = text.find(ANSWER_CLOSE, start + len(ANSWER_OPEN)) if start >= 0 else -1
    return text[start + len(ANSWER_OPEN) : end].strip() if end >= 0 else None


def one_line_answer(text: str) -> str | None:
    """The stripped text between the first answer tags that stand on one line."""
    for line in text.split("\n"):
        answer = first_answer(line)
        if answer is not None:
            return answer
    return None


def train_format(completion: str, ground_truth: str = "") -> float:
    """1 for ``<think>...</think>``, white space, ``<answer>...</answer>``, else 0."""
    if not completion.startswith(THINK_OPEN) or not completion.endswith(ANSWER_CLOSE):
        return 0.0
    return float(_SEPARATOR.search(completion, len(THINK_OPEN)) is not None)


def train_accuracy(completion: str, ground_truth: str) -> float:
    """Counting and geometry in training: equal strings, math-verify for untagged text only."""
    return _train_score(completion, ground_truth, lambda given, wanted: float(given == wanted))


def train_geometry_numeric(completion: str, ground_truth: str) -> float:
    """The smooth numeric form: 1 within 5 % of the truth, 0 beyond 20 %, a cosine between."""
    return _train_score(completion, ground_truth, _numeric)


def _train_score(
    completion: str, ground_truth: str, compared: Callable[[str, str], float]
) -> float:
    answer, truth = first_answer(completion), first_answer(ground_truth)
    given = completion.strip() if answer is None else answer
    reward = compared(given, ground_truth.strip() if truth is None else truth)
    return _math(completion, ground_truth) if reward == 0.0 and answer is None else reward


def _numeric(given: str, wanted: str) -> float:
    try:
        return _closeness(float(given), float(wanted))
    except ValueError:
        return float(given == wanted)


def _closeness(given: float, wanted: float) -> float:
    distance, scale = abs(given - wanted), abs(wanted)
    if distance < 0.05 * scale:
        return 1.0
    if distance > 0.20 * scale:
        return 0.0
    width = (0.20 - 0.05) * scale
    if width == 0.0:
        return 0.0
    step = (distance - 0.05 * scale) / width
    return 0.5 * (math.cos(math.pi * step) + 1)


def eval_accuracy(completion: str, ground_truth: str) -> float:
    """Counting and geometry at evaluation: equal strings, else math-verify of the answer."""
    answer = first_answer(completion)
    if answer is None:
        if completion.strip() == ground_truth.strip():
            return 1.0
        return _math(completion, ground_truth)
    return 1.0 if answer == ground_truth else _math(answer, ground_truth)


def eval_transformation(completion: str, ground_truth: str) -> float:
    """Partial credit 1, 0.5, 0.5, 0.25 over distinct calls."""
    answer = one_line_answer(completion)
    given = find_calls(completion if answer is None else answer)
    return _calls_score(given, find_calls(ground_truth), PARTIAL)


def train_transformation(
    completion: str, ground_truth: str, weights: Sequence[float] = PARTIAL
) -> float:
    """Credit by ``weights`` over distinct calls, times the share of distinct calls."""
    answer = first_answer(completion)
    given = find_calls(completion if answer is None else answer)
    return _calls_score(given, find_calls(ground_truth), weights, repeats_cost=True)


def find_calls(text: str) -> list[Triple]:
    """All ``function(object, value)`` in a text, in order, repeated ones included."""
    return _CALL.findall(text)


def _calls_score(
    given: list[Triple],
    wanted: list[Triple],
    weights: Sequence[float],
    *,
    repeats_cost: bool = False,
) -> float:
    if not given or not wanted:
        return 0.0
    distinct, truths = list(dict.fromkeys(given)), list(dict.fromkeys(wanted))
    penalty = len(distinct) / len(given) if repeats_cost else 1.0
    return penalty * _matched_sum(distinct, truths, weights) / max(len(distinct), len(truths))


def _matched_sum(given: list[Triple], wanted: list[Triple], weights: Sequence[float]) -> float:
    """Match greedily, kind by kind, each call with the first true one left that fits."""
    total = 0.0
    for places, weight in zip(((0, 1, 2), (0, 1), (0, 2), (0,)), weights, strict=True):
        rest: list[Triple] = []
        for call in given:
            fits = [other for other in wanted if all(call[i] == other[i] for i in places)]
            if fits:
                wanted = [other for other in wanted if other != fits[0]]
                total += weight
            else:
                rest.append(call)
        given = rest
    return total


def _math(text: str, truth: str) -> float:
    if max(len(text), len(truth)) > MAX_TEXT_CHARS:
        return 0.0
    return float(math_equal(text, truth) is True)


#: The published scores by name; `transformation_whole` is what the released scripts train with.
REASON_RFT_SCORES: dict[str, Callable[[str, str], float]] = {
    "train/format": train_format,
    "train/counting": train_accuracy,
    "train/geometry": train_accuracy,
    "train/geometry_numeric": train_geometry_numeric,
    "train/transformation": train_transformation,
    "train/transformation_whole": partial(train_transformation, weights=WHOLE),
    "train/transformation_penalty": partial(train_transformation, weights=PENALTY),
    "eval/counting": eval_accuracy,
    "eval/geometry": eval_accuracy,
    "eval/transformation": eval_transformation,
}
