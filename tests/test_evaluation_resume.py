"""A killed evaluation of a real policy continues, and ends with the same records."""

import signal
import subprocess
import sys
from pathlib import Path

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.evaluation import evaluate
from ekipl_lab.policies import PolicySource, as_policy, build_tiny_policy
from ekipl_lab.rewards import get_scorer

OPTIONS = {"mode": "sampled", "num_samples": 3, "max_new_tokens": 8, "batch_size": 2}

PROGRAM = f"""
import os, signal, sys
import torch
torch.set_num_threads(1)
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.evaluation import evaluate
from ekipl_lab.policies import PolicySource, as_policy, build_tiny_policy
from ekipl_lab.rewards import get_scorer

def progress(done, total):
    if done == 6:
        os.kill(os.getpid(), signal.SIGKILL)

source = PolicySource(as_policy(*build_tiny_policy("nano", seed=0), "nano"))
samples = load_samples("mini", task="counting", split="test", limit=10)
evaluate(source, samples, get_scorer("ekipl/auto"), cache=sys.argv[1], progress=progress,
         **{OPTIONS!r})
"""


def test_a_killed_evaluation_continues_where_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = [(part.name, part.stat().st_mtime_ns) for part in sorted(tmp_path.glob("part-*"))]
    assert len(before) == 3  # batches of 2: six samples are kept

    source = PolicySource(as_policy(*build_tiny_policy("nano", seed=0), "nano"))
    samples = load_samples("mini", task="counting", split="test", limit=10)
    score = get_scorer("ekipl/auto")
    continued = evaluate(source, samples, score, cache=tmp_path, **OPTIONS)  # type: ignore[arg-type]
    after = [(part.name, part.stat().st_mtime_ns) for part in sorted(tmp_path.glob("part-*"))]
    assert after[:3] == before and len(after) == 5

    whole = evaluate(source, samples, score, **OPTIONS)  # type: ignore[arg-type]
    assert [r.rewards for r in continued] == [r.rewards for r in whole]
    completions = [[a.completion for a in r.actions] for r in whole]
    assert [[a.completion for a in r.actions] for r in continued] == completions
    assert len({text for row in completions for text in row}) > 10
