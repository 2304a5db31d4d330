"""Samples per second of processor time, one core: ``python perf/bench_render.py``.

Processor time, not wall time, so that other work on the machine does not count.
"""

from __future__ import annotations

import time

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS

COUNT = 1000


def main() -> None:
    """Prints one line per task and image size, after the sprite caches are warm."""
    for task in MINI_TASKS:
        for size in (56, 112, 224, 448):
            load_samples("mini", task=task, split="train", limit=300, image_size=size, seed=1)
            count = COUNT if size < 200 else COUNT // 5
            start = time.process_time()
            load_samples("mini", task=task, split="train", limit=count, image_size=size)
            rate = count / (time.process_time() - start)
            print(f"{task:15s} {size:4d} px {rate:8.0f} samples/s")


if __name__ == "__main__":
    main()
