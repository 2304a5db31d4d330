"""The memory of a fresh process that trains one of the two trainers and nothing else.

python -m perf.trainer.peak ekipl|grpo SIZE STEPS    prints {"built": bytes, "peak": ...}
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any

import psutil
import torch


def memory_ratio(size: str, steps: int, repeats: int) -> dict[str, Any]:
    """Peaks EKIPL / GRPO, by turns; the smallest of the repeats of each.

    ``ratio`` is of whole processes, the libraries' own share in both; ``ratio_of_training`` of
    what training adds to a process that has been built.
    """
    found: dict[str, list[dict[str, int]]] = {"ekipl": [], "grpo": []}
    for kind in ("ekipl", "grpo") * repeats:
        command = [sys.executable, "-m", "perf.trainer.peak", kind, size, str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    peaks = {kind: min(one["peak"] for one in all_) for kind, all_ in found.items()}
    added = {kind: min(one["peak"] - one["built"] for one in all_) for kind, all_ in found.items()}
    return {
        "steps": steps,
        "peak_bytes": {kind: [one["peak"] for one in all_] for kind, all_ in found.items()},
        "ratio": peaks["ekipl"] / peaks["grpo"],
        "added_bytes": added,
        "ratio_of_training": added["ekipl"] / added["grpo"],
    }


def main(kind: str, size: str, steps: int) -> None:
    """Train and print."""
    from perf.trainer.__main__ import SIZES, build

    torch.set_num_threads(1)
    trainer = build(kind, SIZES[size], steps)
    built = psutil.Process().memory_info().rss
    trainer.train()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"built": built, "peak": most}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
