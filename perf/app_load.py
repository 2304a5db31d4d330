"""The app under load: answers on a store of 100 runs and a million candidates.

    python perf/app_load.py [--store FOLDER] [--seconds 30] [--runs 100] [--candidates 1000000]

Builds the store (`perf/app_store.py`; in FOLDER it is kept, and found again), starts `ekipl app` on
it as a process of its own, and reads through the page's own events, each reader with runs and a
pace of its own (0.5 to 1.5 s of looking between two answers):

- 3 readers: time to open a page, and of a click by its kind, the change of the run among them;
- 20 readers, then the same with 4 more that sample groups live, twice each in turn: errors, how
  many times longer a click takes beside generation, and whether anyone saw what another asked for:
  every answer must name the step and group of its own address, and every 20th is asked for again.

Writes results/app_load.json and the table of docs/app.md. Beside each part stand the load average,
the share of a core that a busy process got, and the processor time that the app spent for a click:
what is left of its time where nobody else wants the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests/kit")]

from page_kit import Browser  # noqa: E402

from ekipl_lab.files import put_between, write_text  # noqa: E402
from perf import app_store  # noqa: E402

OUT, DOC = ROOT / "results" / "app_load.json", ROOT / "docs" / "app.md"
BEGIN, END = "<!-- app load: generated, do not edit -->", "<!-- app load: end -->"
#: Goals in milliseconds and times.
PAGE_GOAL, CLICK_GOAL, SLOWER_GOAL = 2000, 300, 2.0
THINKING = (0.5, 1.5)
#: Clicks of each reader, however long they take.
LEAST = 2
_PLACE = re.compile(r"Recorded in step (\d+), group (\d+)\.")


@dataclass
class Seen:
    """What readers measured: kind of click -> seconds; errors; (address, page) to be checked."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    pages: list[tuple[str, str]] = field(default_factory=list)
    confused: int = 0

    def took(self, kind: str, seconds: float) -> None:
        self.seconds.setdefault(kind, []).append(seconds)

    @property
    def clicks(self) -> list[float]:
        return [s for kind, found in self.seconds.items() if kind != "page" for s in found]


class Reader(threading.Thread):
    """Opens the page and clicks until ``end``, in some runs of its own."""

    def __init__(self, address: str, runs: Sequence[str], seed: int, end: float) -> None:
        super().__init__()
        self.seen = Seen()
        self._address, self._runs, self._end = address, runs, end
        self._rng = random.Random(seed)

    def run(self) -> None:
        try:
            began = time.perf_counter()
            run = self._rng.choice(self._runs)
            page = self._open(run)
            self.seen.took("page", time.perf_counter() - began)
            clicks = 0
            while clicks < LEAST or time.monotonic() < self._end:
                time.sleep(self._rng.uniform(*THINKING))
                self._click(page)
                clicks += 1
        except Exception as error:  # whatever it is, the record says so
            self.seen.errors.append(repr(error)[:200])

    def _open(self, run: str) -> Browser:
        return Browser(self._address, f"view=recorded&run={run}")

    def _click(self, page: Browser) -> None:
        kind = self._rng.choice(("next", "step", "run", "filter", "rule", "item"))
        began = time.perf_counter()
        if kind == "next":
            page.act("recorded-next", "click")
        elif kind == "step":
            page.act("recorded-step", "submit", self._rng.randint(1, 100))
        elif kind == "run":
            page.act("recorded-run", "input", self._rng.choice(self._runs))
        elif kind == "filter":
            page.act("recorded-keep", "input", self._rng.choice(("all", "taught", "zero_spread")))
        elif kind == "rule":
            page.act("recorded-scale", "input", self._rng.choice(("group", "pool", "none")))
        else:
            run = self._rng.choice(self._runs)
            page.send({"query": f"run={run}&view=measured&keep=gained"})
        self.seen.took(kind, time.perf_counter() - began)
        self._check(page)
        if kind == "item":  # back to where the clicks are
            page.send({"query": f"run={self._rng.choice(self._runs)}&view=recorded"})

    def _check(self, page: Browser) -> None:
        """Is this what was asked for? Some pages are kept, to be asked for again."""
        asked = dict(httpx.QueryParams(page.query))
        own = asked["run"] in self._runs
        if asked["view"] == "recorded":
            place = _PLACE.search(page.stage)
            wanted = (asked.get("step", "0"), str(int(asked.get("group", 0)) + 1))
            own = own and place is not None and place.groups() == wanted
        self.seen.confused += not own
        if self._rng.random() < 0.05:
            self.seen.pages.append((page.query, page.stage))


class Sampler(Reader):
    """Samples a group live, again and again."""

    def _open(self, run: str) -> Browser:
        return Browser(self._address, f"view=live&run={run}&checkpoint=start")

    def _click(self, page: Browser) -> None:
        began = time.perf_counter()
        page.act("live-again", "click")
        self.seen.took("live", time.perf_counter() - began)
        if "Sampled now" not in page.stage:
            self.seen.errors.append(re.sub("<.*?>", " ", page.stage)[-200:])


@contextmanager
def app(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The app as `ekipl app` starts it; its address and process."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store_of(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "app", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[2], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def store_of(folder: Path) -> str:
    """The tracking address of a store in a folder."""
    return f"sqlite:///{folder}/mlflow.db"


def read(address: str, runs: Sequence[str], readers: int, samplers: int, seconds: float) -> Any:
    """Some readers at once; everything they saw, of readers and of samplers."""
    end = time.monotonic() + seconds
    threads: list[Reader] = [
        Reader(address, runs[i::readers], i, end) for i in range(readers)
    ]  # fmt: skip
    threads += [Sampler(address, runs[i::samplers], 100 + i, end) for i in range(samplers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Seen(), Seen()
    for thread in threads:
        total = found[isinstance(thread, Sampler)]
        for kind, values in thread.seen.seconds.items():
            total.seconds.setdefault(kind, []).extend(values)
        total.errors += thread.seen.errors
        total.pages += thread.seen.pages
        total.confused += thread.seen.confused
    return found


def checked(address: str, pages: Sequence[tuple[str, str]]) -> int:
    """How many of some pages are not what their address shows to one who asks alone."""
    return sum(Browser(address, query).stage != stage for query, stage in pages)


def times(values: Sequence[float]) -> dict[str, Any]:
    """Number, median and 95th percentile in milliseconds."""
    ordered = sorted(values)
    return {
        "times": len(ordered),
        "p50_ms": round(1000 * statistics.median(ordered)),
        "p95_ms": round(1000 * ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]),
    }


def busyness() -> dict[str, float]:
    """How busy the machine is: load average, and the share of a core that this process gets."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < 0.5:
        sum(range(1000))
    share = 0.5 / (time.perf_counter() - began)
    return {"load": round(os.getloadavg()[0], 1), "share_of_a_core": round(share, 2)}


def part(
    served: tuple[str, psutil.Process], runs: Sequence[str], readers: int, samplers: int,
    seconds: float,
) -> Any:  # fmt: skip
    """One part of the record."""
    address, process = served
    before, used = busyness(), sum(process.cpu_times()[:2])
    seen, live = read(address, runs, readers, samplers, seconds)
    spent = sum(process.cpu_times()[:2]) - used
    result = {
        "readers": readers, "samplers": samplers, "before": before, "after": busyness(),
        "page": times(seen.seconds["page"]), "clicks": times(seen.clicks),
        "server_cpu_ms_a_click": round(1000 * spent / max(1, len(seen.clicks))),
        "kinds": {kind: times(v) for kind, v in sorted(seen.seconds.items()) if kind != "page"},
        "errors": seen.errors + live.errors,
        "strangers": seen.confused + checked(address, seen.pages), "asked_again": len(seen.pages),
    }  # fmt: skip
    if samplers:
        result["live"] = times(live.seconds.get("live", [0.0]))
    print(json.dumps(result), flush=True)
    return result


def slower(parts: Sequence[Any], of: str) -> float | None:
    """How many times longer a click takes beside generation: the ratio of means over rounds."""
    if not parts:
        return None
    means = {
        busy: statistics.mean(p["clicks"][of] for p in parts if bool(p["samplers"]) == busy)
        for busy in (False, True)
    }
    return float(round(means[True] / means[False], 2))


def table(record: Any) -> str:
    """The record in short, for docs/app.md."""
    three, many = record["three"], record["many"]
    rows = [
        ("3 readers: page", three["page"], f"{PAGE_GOAL} ms"),
        ("3 readers: click", three["clicks"], f"{CLICK_GOAL} ms at p95"),
        *((f"3 readers: click, {kind}", values, "") for kind, values in three["kinds"].items()),
        *(
            (f"20 readers{', 4 live generations' if p['samplers'] else ''}: click", p["clicks"], "")
            for p in many
        ),
    ]
    lines = ["| what | times | median (ms) | p95 (ms) | goal on a quiet machine |",
             "|---|---|---|---|---|"]  # fmt: skip
    lines += [f"| {n} | {v['times']} | {v['p50_ms']} | {v['p95_ms']} | {g} |" for n, v, g in rows]
    shares = [p[at]["share_of_a_core"] for p in (three, *many) for at in ("before", "after")]
    loads = [p[at]["load"] for p in (three, *many) for at in ("before", "after")]
    errors = sum(len(p["errors"]) for p in (three, *many))
    strangers = sum(p["strangers"] for p in (three, *many))
    ratio = (
        f"Beside 4 generations a click takes {record['slower']['p50_ms']} times as long at the "
        f"median and {record['slower']['p95_ms']} times at the 95th percentile (goal: under "
        f"{SLOWER_GOAL:g})."
        if many
        else "20 readers and live generations were not measured in this run."
    )
    return (
        "\n".join(lines)
        + f"\n\n{record['runs']} runs, {record['candidates']:,} candidates. {ratio} "
        f"Errors: {errors}; pages that showed another's state: {strangers}. With 3 readers the app "
        f"spent {three['server_cpu_ms_a_click']} ms of processor time a click. The machine "
        f"({record['cores']} cores) had other work: load {min(loads):g} to {max(loads):g}, and a "
        f"process got {min(shares):.2f} to {max(shares):.2f} of a core. Made by "
        f"`perf/app_load.py` on {record['date']}."
    )


def keep(three: Any, many: Sequence[Any], out: Path) -> None:
    """Write the record, and the table of docs/app.md where it is the project's."""
    record = {
        "date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(),
        "runs": len(app_store.run_ids()), "candidates": app_store.count(),
        "three": three, "many": many,
        "slower": {of: slower(many, of) for of in ("p50_ms", "p95_ms")},
    }  # fmt: skip
    write_text(out, json.dumps(record, indent=1) + "\n")
    if out == OUT:
        write_text(DOC, put_between(DOC.read_text("utf-8"), BEGIN, END, table(record)))


def main() -> int:
    """Build, read, write; 1 where there were errors or strangers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, help="built there, and kept; else temporary")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each part")
    parser.add_argument("--rounds", type=int, default=2, help="of 20 readers; 0 leaves them out")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (args.store or Path(name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["MLFLOW_TRACKING_URI"] = store_of(folder)
        if not (folder / "mlflow.db").is_file():
            app_store.build(folder, args.runs, args.candidates)
        ids = app_store.run_ids()
        with app(folder) as served:
            read(served[0], ids, 3, 1, 5)  # first looks are not measured
            three = part(served, ids, 3, 0, 2 * args.seconds)
            many = [part(served, ids, 20, n, args.seconds) for n in args.rounds * (0, 4)]
    keep(three, many, args.out)
    return int(any(p["errors"] or p["strangers"] for p in (three, *many)))


if __name__ == "__main__":
    sys.exit(main())
