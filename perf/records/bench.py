"""Group records at a million candidates: how long a page, a step, a search and a sum take.

    python perf/records/bench.py [--folder FOLDER] [--out results/records.json]

Builds (in a temporary folder, or in FOLDER, where a second start finds it) a run of 10,417 steps x
8 groups x 12 candidates, 1,000,032 in all: chains of 40 to 60 words, token ids, log-probabilities
of teachers; images are referred to by sample id. Then the queries of notebooks and app, 40 times
each at random steps, in milliseconds of wall time (median, 95th percentile, slowest) and of
processor time (median, 95th percentile: what is left if no one else wants the machine), with the
1-minute load before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from ekipl_lab.groups.build import build_group
from ekipl_lab.records import SCHEMA, list_steps, load_groups, read_groups, sum_by_source
from ekipl_lab.records.schema import to_rows
from ekipl_lab.records.shards import shard_path, write_shard
from ekipl_lab.types import Action, RewardBreakdown, Sample, Usage

GROUPS, POLICY_ACTIONS, TEACHER_ACTIONS = 8, 8, 4
CHAIN = "there is a red cube behind the blue sphere so after taking it away count left"
WORDS = CHAIN.split()
#: Steps in a merged shard (`GroupRecordWriter`'s ``compact_every``).
MERGED = 64
#: Milliseconds in which any page of any step must be there.
GOAL = 200.0


def action(rng: random.Random, source: str) -> Action:
    """A chain of realistic length with its tokens."""
    count = rng.randint(40, 60)
    words = " ".join(rng.choices(WORDS, k=count))
    text = f"<think> {words}</think><answer>{rng.randint(0, 9)}</answer>"
    ids = tuple(rng.randrange(2000) for _ in range(count + 8))
    logprobs = tuple(-rng.random() for _ in ids) if source != "policy" else None
    return Action(text, source, "model", ids, logprobs, "tokenizer", "stop", Usage(300, len(ids)))


def group(rng: random.Random, step: int, index: int) -> Any:
    """One group of a run."""
    number = step * GROUPS + index
    sample = Sample(
        f"mini/counting/train/s0/{number % 20000:06d}", "counting", "train", (),
        "How many cubes are left after taking the red ones away?", "3", "number",
        family="remove", difficulty=number % 4,
    )  # fmt: skip
    sources = ["policy"] * POLICY_ACTIONS + ["careful"] * 2 + ["sloppy"] * 2
    right = [rng.random() < 0.4 for _ in sources]
    rewards = [
        RewardBreakdown(
            {"accuracy": float(r), "format": 1.0}, {"accuracy": 1.0, "format": 0.5}, r, "3",
            "the answer is compared as a number",
        )
        for r in right
    ]  # fmt: skip
    actions = [action(rng, source) for source in sources]
    return build_group(sample, actions, rewards, group_size=POLICY_ACTIONS)


def build(folder: Path, steps: int) -> None:
    """The files that a trainer leaves: merged shards of 64 steps. Groups repeat every 50 steps."""
    rng = random.Random(0)
    stock = []
    for step in range(50):
        groups = [group(rng, step, index) for index in range(GROUPS)]
        rows = [row for index, one in enumerate(groups) for row in to_rows(0, index, one)]
        stock.append(pa.Table.from_pylist(rows, schema=SCHEMA))
    for first in range(1, steps + 1, MERGED):
        last = min(first + MERGED - 1, steps)
        tables = [
            (table := stock[step % 50])
            .set_column(0, "step", pa.array([step] * table.num_rows, pa.int64()))
            .cast(SCHEMA)
            for step in range(first, last + 1)
        ]
        write_shard(shard_path(folder, (first, last), (first - 1, last - 1)), tables)


def timed(query: Callable[[random.Random], Any], times: int = 40) -> dict[str, float]:
    """Some calls in milliseconds; the first is left out."""
    rng, wall, cpu = random.Random(1), [], []
    query(rng)
    for _ in range(times):
        began, used = time.perf_counter(), time.process_time()
        query(rng)
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - used))
    late = int(0.95 * times) - 1
    return {
        "median_ms": round(statistics.median(wall), 1),
        "p95_ms": round(sorted(wall)[late], 1),
        "slowest_ms": round(max(wall), 1),
        "cpu_median_ms": round(statistics.median(cpu), 1),
        "cpu_p95_ms": round(sorted(cpu)[late], 1),
    }


def main() -> int:
    """Build, query, print and write; 1 if the 95th percentile of a page missed the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10417)
    parser.add_argument("--folder", type=Path, help="built there, and kept; else temporary")
    parser.add_argument("--out", type=Path, default=Path("results/records.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, last = args.folder or Path(name), args.steps
        if not list_steps(folder):
            folder.mkdir(parents=True, exist_ok=True)
            build(folder, last)
        size = sum(path.stat().st_size for path in folder.iterdir())
        load = round(os.getloadavg()[0], 1)
        step = lambda rng: rng.randint(1, last)  # noqa: E731
        found = {
            "page of 12 rows of a step": timed(
                lambda rng: read_groups(folder, steps=step(rng), offset=12 * rng.randrange(8),
                                        limit=12)
            ),
            "one group of a step, rebuilt": timed(
                lambda rng: load_groups(folder, step(rng), offset=rng.randrange(8), limit=1)
            ),
            "all groups of a step, rebuilt": timed(lambda rng: load_groups(folder, step(rng))),
            "sums by source over 50 steps": timed(
                lambda rng: sum_by_source(folder, steps=range((a := step(rng)), a + 50))
            ),
            "list of all steps": timed(lambda rng: list_steps(folder), 5),
            "sums by source over the run": timed(lambda rng: sum_by_source(folder), 3),
        }  # fmt: skip
    candidates = last * GROUPS * (POLICY_ACTIONS + TEACHER_ACTIONS)
    result = {
        "candidates": candidates, "steps": last, "megabytes": round(size / 1e6, 1),
        "load": [load, round(os.getloadavg()[0], 1)],
        "cores": os.cpu_count(), "queries": found,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    pages = [values["p95_ms"] for name, values in found.items() if "of a step" in name]
    return int(max(pages) > GOAL)


if __name__ == "__main__":
    sys.exit(main())
