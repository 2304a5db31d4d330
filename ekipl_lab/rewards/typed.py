"""``ekipl/auto``: the scorer that picks the matcher by ``Sample.answer_type``. The default.

Two components: ``accuracy`` in [0, 1] and ``format`` 0 or 1 (the strict form of
``ekipl_lab.parsing``). Success is accuracy >= 1 and nothing else: the format cannot buy it, and
partial credit is not success.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ekipl_lab.errors import RewardError, unknown_name
from ekipl_lab.parsing import TAGS, Parsed, parse_completion
from ekipl_lab.rewards.calls import match_calls, match_calls_strict
from ekipl_lab.rewards.grounding import match_box, match_boxes, match_point
from ekipl_lab.rewards.matchers import (
    Match,
    Truth,
    match_letter,
    match_number,
    match_numbers,
    match_text,
)
from ekipl_lab.rewards.mathematics import match_math, math_truth_fault
from ekipl_lab.rewards.plain import said
from ekipl_lab.types import Action, RewardBreakdown, Sample, Scorer

Matcher = Callable[[str, Truth], Match]
#: How accurate a completion of a sample is, and why.
Judge = Callable[[Sample, str, Parsed], Match]


def _reads_said(matcher: Matcher) -> Matcher:
    """The matcher, which reads ``Answer: 5`` too where the whole text earns nothing."""

    def read(answer: str, truth: Truth) -> Match:
        match = matcher(answer, truth)
        value = said(answer) if match.value == 0.0 else None
        return match if value is None else matcher(value, truth)

    return read


#: ``Sample.answer_type`` -> matcher.
MATCHERS: dict[str, Matcher] = {
    "box": _reads_said(match_box),
    "boxes": _reads_said(match_boxes),
    "calls": _reads_said(match_calls),
    "letter": match_letter,
    "math": _reads_said(match_math),
    "number": _reads_said(match_number),
    "numbers": _reads_said(match_numbers),
    "point": _reads_said(match_point),
    "text": _reads_said(match_text),
}


def _all_or_nothing(matcher: Matcher) -> Matcher:
    """The matcher without partial credit."""

    def strict(answer: str, truth: Truth) -> Match:
        match = matcher(answer, truth)
        return match if match.value in (1.0, None) else Match(0.0, match.note)

    return strict


STRICT_MATCHERS: dict[str, Matcher] = {
    **MATCHERS,
    "box": _all_or_nothing(MATCHERS["box"]),
    "boxes": _all_or_nothing(MATCHERS["boxes"]),
    "calls": _reads_said(match_calls_strict),
}

DEFAULT_WEIGHTS = {"accuracy": 1.0, "format": 1.0}


def truth_of(sample: Sample) -> Truth:
    """The ground truth of a sample, with ``tolerance`` and ``unit`` from its metadata."""
    letters = "".join(chr(ord("A") + index) for index in range(len(sample.choices)))
    return Truth(
        text=sample.answer,
        tolerance=str(sample.metadata.get("tolerance", "0")),
        unit=str(sample.metadata.get("unit", "")),
        letters=letters,
        choices=sample.choices,
        iou=float(sample.metadata.get("iou", 0.5)),
    )


def check_ground_truth(sample: Sample) -> None:
    """Raise RewardError if no answer to this sample could ever be scored right.

    Call it when samples are loaded: a broken ground truth is an error there, never a reward of 0.
    """
    tag = next((tag for tag in TAGS if tag in sample.answer), None)
    if tag:  # no completion could hold it as its answer
        raise RewardError(
            f"Sample {sample.id}: its ground truth {sample.answer!r} holds {tag}, which parts a "
            "completion; correct the record."
        )
    match = _match(sample, sample.answer, MATCHERS)
    if sample.answer_type == "math" and (fault := math_truth_fault(truth_of(sample))):
        raise RewardError(
            f"Sample {sample.id}: its ground truth {sample.answer!r} is not a mathematical "
            f"expression ({fault}); correct the record."
        )
    if match.value != 1.0:
        raise RewardError(
            f"Sample {sample.id}: its own ground truth {sample.answer!r} is not scored right "
            f"({match.note}); correct the record."
        )


def check_ground_truths(samples: Iterable[Sample]) -> None:
    """``check_ground_truth`` for each."""
    for sample in samples:
        check_ground_truth(sample)


def _match(sample: Sample, answer: str, matchers: dict[str, Matcher]) -> Match:
    matcher = matchers.get(sample.answer_type)
    if matcher is None:
        problem = unknown_name("answer type", sample.answer_type, matchers)
        raise RewardError(f"Sample {sample.id}: {problem}")
    return matched(matcher, sample, answer)


def matched(matcher: Matcher, sample: Sample, answer: str) -> Match:
    """The match with the truth of a sample; RewardError that names the sample."""
    try:
        return matcher(answer, truth_of(sample))
    except RewardError as error:
        raise RewardError(f"Sample {sample.id}: {error}; correct the record.") from error


def scorer_of(judge: Judge, weights: Mapping[str, float]) -> Scorer:
    """The scorer with accuracy by ``judge`` and the strict format of ``parse_completion``."""

    def score(sample: Sample, action: Action) -> RewardBreakdown:
        parsed = parse_completion(action.completion)
        match = judge(sample, action.completion, parsed)
        return breakdown(match, float(parsed.format_ok), parsed.answer, weights)

    return score


def breakdown(
    match: Match, form: float, answer: str | None, weights: Mapping[str, float]
) -> RewardBreakdown:
    """The reward of a judged completion; success is about its accuracy alone."""
    return RewardBreakdown(
        components={"accuracy": match.value, "format": form},
        weights=weights,
        success=None if match.value is None else match.value >= 1.0,
        extracted_answer=answer,
        explanation=match.note,
    )


def typed_scorer(weights: Mapping[str, float], *, strict: bool = False) -> Scorer:
    """The scorer of ``ekipl/auto``, or of ``ekipl/strict`` (accuracy 0 or 1 for every type)."""
    matchers = STRICT_MATCHERS if strict else MATCHERS

    def judge(sample: Sample, completion: str, parsed: Parsed) -> Match:
        if parsed.answer is None:
            match = Match(0.0, "no answer")
        else:
            match = _match(sample, parsed.answer, matchers)
        note = match.note if parsed.format_ok else f"{match.note}; {parsed.problem}"
        return Match(match.value, note)

    return scorer_of(judge, weights)
