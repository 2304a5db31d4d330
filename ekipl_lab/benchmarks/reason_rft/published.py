"""Published results on Reason-RFT-CoT (arXiv 2503.20752), in percent, as reference rows.

The numbers are those of the published evaluator (``reason_rft/eval/...``): accuracy for counting
and geometry, mean partial credit for transformation. Super-CLEVR is the mixture of its two
published parts, 0.75 and 0.25. The published averages mix conventions, so they are not repeated:
``averages`` computes one, by task first, in-domain and out-of-domain apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TEST_SETS: dict[str, tuple[str, str]] = {
    "clevr_math": ("counting", "test"),
    "super_clevr": ("counting", "test_ood"),
    "geomath": ("geometry", "test"),
    "geometry3k": ("geometry", "test_ood"),
    "trance": ("transformation", "test"),
    "trance_left": ("transformation", "test_ood"),
    "trance_right": ("transformation", "test_ood"),
}

_TABLE = """
GPT-4o                       | 68.10 34.3 50.18 43.49 42.55 28.67 29.76
Gemini-1.5-Pro               | 61.80 37.5 50.12 48.38 26.22 18.76 19.88
Qwen2-VL-2B zero-shot        | 82.40 32.0 25.86 20.63  3.78  4.60  4.67
Qwen2-VL-2B ANS-SFT          | 96.20 39.6 51.34 22.50 77.39 49.24 50.33
Qwen2-VL-2B CoT-SFT          | 85.50 46.5 43.05 25.25 64.37 43.19 42.86
Qwen2-VL-2B Reason-RFT-Zero  | 98.40 44.8 47.68 32.50 42.13 34.07 33.41
Qwen2-VL-2B Reason-RFT       | 96.80 52.1 49.03 33.13 74.61 64.05 64.08
Qwen2-VL-7B zero-shot        | 98.60 42.1 43.30 43.88 13.53 12.72 12.78
Qwen2-VL-7B ANS-SFT          | 95.00 33.9 51.34 25.38 82.19 54.29 54.83
Qwen2-VL-7B CoT-SFT          | 87.30 42.4 50.49 33.00 81.31 47.90 47.80
Qwen2-VL-7B Reason-RFT-Zero  | 99.40 53.0 55.00 54.75 67.67 57.20 56.15
Qwen2-VL-7B Reason-RFT       | 95.60 51.0 59.27 49.25 79.97 59.36 58.61
"""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One model's published scores, test set -> percent."""

    model: str
    scores: Mapping[str, float]


def _row(line: str) -> PublishedRow:
    model, numbers = line.split("|")
    values = [float(number) for number in numbers.split()]
    return PublishedRow(model.strip(), dict(zip(TEST_SETS, values, strict=True)))


PUBLISHED: tuple[PublishedRow, ...] = tuple(map(_row, _TABLE.strip().splitlines()))


def averages(scores: Mapping[str, float]) -> dict[str, float]:
    """Mean over the three tasks, per split: a task's test sets are averaged first.

    Keys are ``test`` and ``test_ood``; a split whose tasks are not all there is left out.
    """
    found = {}
    for split in ("test", "test_ood"):
        sets = {name: task for name, (task, part) in TEST_SETS.items() if part == split}
        if not all(name in scores for name in sets):
            continue
        tasks = sorted(set(sets.values()))
        means = [_mean([scores[name] for name in sets if sets[name] == task]) for task in tasks]
        found[split] = _mean(means)
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
