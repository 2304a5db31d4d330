"""Weights averaged with those of the start: what stays of what was learned, and outside of it?

    ekipl compare configs/studies/counting_repeat_tune.yaml     # makes the policies
    python -m perf.averages mlruns/work/counting_repeat_tune-counting-passes_4_low-s16.1/policy ...

For development alone: validation items of seed 23 and items of test_ood of seed 51, which no study
measures. One greedy answer and 8 at temperature 1. Appended to results/ground/averages.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.evaluation import evaluate, summarize
from ekipl_lab.policies.average import between
from ekipl_lab.policies.load import load_policy
from ekipl_lab.policies.source import PolicySource
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import Sample

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "results" / "ground" / "averages.jsonl"
FAMILIES = ("compare", "count_material", "compare_material", "remove_material")
#: Set -> split, items, seed.
SETS = {"validation": ("validation", 160, 23), "test_ood": ("test_ood", 120, 51)}


def measure(source: PolicySource, samples: Sequence[Sample]) -> dict[str, Any]:
    """Greedy accuracy of all and by family, pass@1 and pass@8 of 8 samples."""
    scorer, kind = get_scorer("ekipl/auto"), {"max_new_tokens": 80, "seed": 0}
    greedy = evaluate(source, samples, scorer, mode="greedy", **kind)
    sampled = evaluate(source, samples, scorer, mode="sampled", num_samples=8, **kind)
    said = {row.metric: row.value for row in summarize(sampled, by=(), ks=(1, 8))}
    found = {name: round(said[name], 4) for name in ("pass_at_1", "pass_at_8")}
    for row in (*summarize(greedy, by=(), ks=()), *summarize(greedy, by=("family",), ks=())):
        if row.metric == "accuracy_greedy":
            found[str(row.group.get("family", "greedy"))] = round(row.value, 4)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policies", nargs="+", type=Path)
    parser.add_argument("--start", type=Path, default=Path("assets/policies/counting_study"))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.6, 0.75, 1.0])
    args = parser.parse_args(argv)
    sets = {
        name: load_samples(
            "mini", task="counting", split=split, families=list(FAMILIES), limit=limit, seed=seed
        )
        for name, (split, limit, seed) in SETS.items()
    }
    torch.set_num_threads(1)
    start = load_policy(ROOT / args.start).model.state_dict()
    for folder in args.policies:
        policy = load_policy(folder)
        learned = {name: values.clone() for name, values in policy.model.state_dict().items()}
        for share in args.shares:
            policy.model.load_state_dict(between(start, learned, share))
            source = PolicySource(policy, max_rows=256)
            row = {"policy": str(folder), "start": str(args.start), "share": share}
            row |= {name: measure(source, samples) for name, samples in sets.items()}
            with RECORD.open("a", encoding="utf-8") as record:
                record.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
