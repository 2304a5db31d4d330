"""What the page on evaluation says of speed is what the record of the measurement holds."""

import json
from statistics import median

from paths import ROOT


def test_the_throughput_is_the_recorded_one() -> None:
    lines = (ROOT / "results/evaluation_speed.jsonl").read_text(encoding="utf-8").splitlines()
    ratios: dict[str, list[float]] = {}
    for row in map(json.loads, lines):
        ratios.setdefault(row["mode"], []).append(row["plain_s"] / row["evaluate_s"])
    page = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    for mode, words in (
        ("greedy", "{} times the throughput greedily (median of 5 repeats, {} to {})"),
        ("sampled", "{} times with 32 samples per item ({} to {})"),
    ):
        found = ratios[mode]
        assert len(found) == 5 and min(found) >= 1.5
        assert words.format(*(f"{f(found):.1f}" for f in (median, min, max))) in page
