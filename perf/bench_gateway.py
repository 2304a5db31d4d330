"""The gateway's own cost, as ratios, side by side in one run. Loopback only.

    python perf/bench_gateway.py [--quick]

- throughput: calls of 1 s latency, 32 in flight, against the ideal rate (goal: 0.90 or more);
- prefetch: a step whose teachers are asked ahead against a step from a warm cache, where calls per
  step x latency <= in flight x step time (goal: 1.10 or less);
- lookup: actions per second from a store of 100,000 (goal: 5,000 or more), from the bare cache and
  through the whole gateway (sample -> prompt -> key -> row -> checksum -> action).

Prints one JSON line per measurement. The server runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/kit"))

from api_kit import PARAMS, api_gateway, numbered  # noqa: E402

from ekipl_lab.teachers.gateway.prefetch import Prefetch  # noqa: E402
from ekipl_lab.teachers.gateway.types import Choice, TokenUsage, action_key, to_value  # noqa: E402
from ekipl_lab.types import Sample  # noqa: E402


@contextmanager
def server(latency: float) -> Iterator[str]:
    """The URL of a server that answers after ``latency`` seconds."""
    command = [sys.executable, str(ROOT / "tests/kit/fault_server.py"), "--latency", str(latency)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate()


def samples_of(numbers: range, size: int = 56) -> list[Sample]:
    """Samples with images of the tiny policy's size."""
    from dataclasses import replace

    from fault_server import painted_image

    return [replace(numbered(n), images=(painted_image(n, size),)) for n in numbers]


def throughput(calls: int, in_flight: int = 32, latency: float = 1.0) -> dict[str, Any]:
    """The share of the ideal rate that a whole batch reaches."""
    with (
        server(latency) as url,
        tempfile.TemporaryDirectory() as folder,
        api_gateway(url, Path(folder), in_flight=in_flight, timeout=60.0) as gateway,
    ):
        batch = samples_of(range(calls))
        began = time.perf_counter()
        gateway.propose(batch, 1, PARAMS)
        seconds = time.perf_counter() - began
        assert gateway.ledger.summary().committed == calls
    ideal = calls * latency / in_flight
    return {"measure": "throughput", "calls": calls, "seconds": seconds, "ratio": ideal / seconds}


def prefetch(
    steps: int, calls: int = 32, latency: float = 0.5, step: float = 1.0
) -> dict[str, Any]:
    """Median time of a prefetched step over that of a step from a warm cache."""
    batches = [samples_of(range(b * calls, (b + 1) * calls)) for b in range(steps)]
    with (
        server(latency) as url,
        tempfile.TemporaryDirectory() as folder,
        api_gateway(url, Path(folder), in_flight=32, timeout=60.0) as gateway,
    ):
        cold = []
        with Prefetch(gateway) as ahead:
            for n, batch in enumerate(batches):
                ahead.expect({m: (batches[m], 1, PARAMS) for m in range(n, min(n + 2, steps))})
                cold.append(timed(gateway, batch, step))
        cold = cold[1:]  # the first has nobody before it
        warm = [timed(gateway, batch, step) for batch in batches[1:]]
    ratio = statistics.median(cold) / statistics.median(warm)
    spread = [min(cold) / max(warm), max(cold) / min(warm)]
    return {"measure": "prefetch", "steps": steps - 1, "ratio": ratio, "spread": spread}


def timed(source: Any, batch: list[Sample], step: float) -> float:
    """One step: ask the teachers, then work for ``step`` seconds."""
    began = time.perf_counter()
    source.propose(batch, 1, PARAMS)
    time.sleep(step)
    return time.perf_counter() - began


def lookup(actions: int, asked: int, repeats: int = 5) -> list[dict[str, Any]]:
    """Actions per second out of a store that holds ``actions``; wall time and CPU time."""
    rng, rows = random.Random(0), []
    with (
        tempfile.TemporaryDirectory() as folder,
        api_gateway("http://127.0.0.1:9", Path(folder)) as gateway,
    ):
        keys = fill(gateway, actions)
        for name in ("cache", "gateway") * repeats:
            numbers = rng.sample(range(actions), asked)
            batch = [samples_of(range(n, n + 1), 8)[0] for n in numbers]
            wall, cpu = time.perf_counter(), time.process_time()
            for start in range(0, asked, 64):
                if name == "cache":
                    part = [keys[n] for n in numbers[start : start + 64]]
                    assert len(gateway.cache.get_many(part)) == len(part)
                else:
                    gateway.propose(batch[start : start + 64], 1, PARAMS)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            rows.append((name, asked / wall, asked / cpu))
        assert gateway.ledger.summary().intents == 0
    return [
        {
            "measure": f"lookup in {actions} ({name})",
            "per_second": statistics.median(wall for n, wall, _ in rows if n == name),
            "per_cpu_second": statistics.median(cpu for n, _, cpu in rows if n == name),
        }
        for name in ("cache", "gateway")
    ]


def fill(gateway: Any, actions: int) -> list[str]:
    """Put answers for questions 0..actions-1 into the cache; their keys."""
    keys: list[str] = []
    for start in range(0, actions, 1000):
        values = {}
        for sample in samples_of(range(start, start + 1000), 8):
            keys.append(action_key(gateway.adapter.call(sample, PARAMS).parts(), 0))
            values[keys[-1]] = stored(start)
        gateway.cache.put(values)
    return keys


def stored(number: int) -> dict[str, Any]:
    """A cached answer of a realistic size."""
    text = f"<think>{'I look at every object in turn. ' * 10}</think><answer>{number}</answer>"
    choice = Choice(text, raw={"choices": [{"message": {"content": text}}], "id": "x" * 40})
    return to_value(choice, TokenUsage(900, 0, 90), "m-served", 0.001, 1.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    quick = parser.parse_args().quick
    print(json.dumps(throughput(64 if quick else 640)), flush=True)
    print(json.dumps(prefetch(4 if quick else 16)), flush=True)
    for row in lookup(10_000 if quick else 100_000, 1000 if quick else 10_000):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
