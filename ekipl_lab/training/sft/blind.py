"""What can be answered without the pictures: the floor that a policy on own data must leave.

Answers are looked up by *form*: the family and text of a question where the training split asks
that text five times or more, else its family.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from ekipl_lab.types import POLICY, Action, Sample, Scorer

#: How often a text must be asked to be a form of its own.
OFTEN = 5


def blind_accuracy(
    train: Sequence[Sample], asked: Sequence[Sample], scorer: Scorer
) -> dict[str, list[float | None]]:
    """Per solver what each question of ``asked`` earns, None where it could not be scored.

    ``most_common`` gives the most frequent training answer of the form; ``prior`` draws one of
    them, and earns what that gets on average.
    """
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for sample in train:
        for form in ((sample.family, sample.question), (sample.family,), ()):
            counts[form][sample.answer] += 1
    found: dict[str, list[float | None]] = {"most_common": [], "prior": []}
    for sample in asked:
        answers = _answers(counts, sample)
        right = {answer: _right(sample, answer, scorer) for answer in answers}
        found["most_common"].append(right[answers.most_common(1)[0][0]])
        known = {answer: value for answer, value in right.items() if value is not None}
        total = sum(answers[answer] for answer in known)
        share = sum(answers[answer] * value for answer, value in known.items())
        found["prior"].append(share / total if total else None)
    return found


def _answers(counts: dict[tuple[str, ...], Counter[str]], sample: Sample) -> Counter[str]:
    exact = counts.get((sample.family, sample.question), Counter())
    if exact.total() >= OFTEN:
        return exact
    return counts.get((sample.family,)) or counts[()]


def _right(sample: Sample, answer: str, scorer: Scorer) -> float | None:
    text = f"<think> blind</think><answer>{answer}</answer>"
    success = scorer(sample, Action(text, POLICY, "blind")).success
    return None if success is None else float(success)
