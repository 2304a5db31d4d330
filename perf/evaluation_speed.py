"""Evaluation throughput against a plain per-sample ``generate`` loop, side by side in one run.

    python perf/evaluation_speed.py [--policy FOLDER] [--samples 48] [--repeats 3]

CPU time of one process and one thread, so that other load on the machine does not count. Without a
policy folder the tiny policy is built with random weights. Prints one JSON line per measurement.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import torch

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.evaluation import evaluate
from ekipl_lab.policies import PolicySource, as_policy, build_tiny_policy, load_policy
from ekipl_lab.policies.source import encode_prompts, suppressed_token_ids
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import Action, Sample

MAX_NEW_TOKENS = 48


def plain_loop(policy: object, samples: Sequence[Sample], draws: int, *, greedy: bool) -> None:
    """What one would write first: one sample at a time, ``generate``, decode, score."""
    score = get_scorer("ekipl/auto")
    suppressed = suppressed_token_ids(policy)
    options = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0}
    for sample in samples:
        inputs = encode_prompts(policy, [sample])
        with torch.no_grad():
            rows = policy.model.generate(
                **inputs,
                **options,
                num_return_sequences=draws,
                max_new_tokens=MAX_NEW_TOKENS,
                suppress_tokens=suppressed,
            )
        for row in rows[:, inputs["input_ids"].shape[1] :]:
            text = policy.processor.tokenizer.decode(row, skip_special_tokens=True)
            score(sample, Action(text, "policy", "m"))


def main() -> None:
    """Measure greedy and sampled evaluation, each ``--repeats`` times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.policy:
        policy = load_policy(options.policy)
    else:
        policy = as_policy(*build_tiny_policy("demo", seed=0), "demo")
    samples = load_samples("mini", task="counting", split="test", limit=options.samples)
    for draws in (1, 32):
        greedy = draws == 1
        for _ in range(options.repeats):
            start = time.process_time()
            plain_loop(policy, samples, draws, greedy=greedy)
            middle = time.process_time()
            evaluate(
                PolicySource(policy),
                samples,
                get_scorer("ekipl/auto"),
                mode="greedy" if greedy else "sampled",
                num_samples=draws,
                max_new_tokens=MAX_NEW_TOKENS,
            )
            plain, ours = middle - start, time.process_time() - middle
            row = {"mode": "greedy" if greedy else "sampled", "draws": draws, "plain_s": plain}
            print(json.dumps({**row, "evaluate_s": ours, "ratio": round(plain / ours, 2)}))


if __name__ == "__main__":
    main()
