"""Which learning rate do the demo's arms learn with? Both arms at several rates, on validation.

    python perf/demo_rate.py [--jobs 2]
    python perf/demo_rate.py --draw          # the table only

Each cell is configs/demo_grpo.yaml or configs/demo_ekipl.yaml with another rate and seed, measured
before and after on 60 items of each family of the validation split: greedy, and 8 samples at
temperature 1. `best` is the rate at which pass@1 after training is highest, as the mean of both
arms; the demo takes it in both arms. Cells are kept in results/demo/rates.json with the warm start
that they began from, and the table goes into docs/experiments.md. A second start runs only the
cells that are not kept yet; another warm start or other settings begin anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.mini.freeze import folder_digest
from ekipl_lab.files import put_between, write_text
from ekipl_lab.studies.cells import RunSpec, run_cells
from ekipl_lab.training.config.run_config import load_config

ROOT = Path(__file__).resolve().parent.parent
OUT, DOC = ROOT / "results" / "demo" / "rates.json", ROOT / "docs" / "experiments.md"
BEGIN, END = "<!-- demo rates: generated, do not edit -->", "<!-- demo rates: end -->"
ARMS = {"grpo": ROOT / "configs" / "demo_grpo.yaml", "ekipl": ROOT / "configs" / "demo_ekipl.yaml"}
RATES, SEEDS = (1e-5, 2e-5, 5e-5), (0,)
MEASURED = (
    "evaluation.sets=[{split: validation, limit: 180}]",
    "evaluation.every=0",
    "evaluation.num_samples=8",
    "evaluation.ks=[1, 8]",
    "tracking.experiment=demo_rate",
    "diagnostics.gradient_norms_every=0",
    "diagnostics.doctor_every=0",
)


def origin() -> dict[str, str]:
    """What a cell depends on besides rate and seed: the warm start, and both arms' settings."""
    settings = []
    for path in ARMS.values():
        raw = load_config(path).model_dump(mode="json")
        raw["grpo"].pop("learning_rate")
        settings.append(raw)
    policy = load_config(ARMS["grpo"]).policy.path
    return {
        "warm_start": folder_digest(ROOT / str(policy)),
        "arms": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16],
    }


def cells() -> list[RunSpec]:
    """All cells, seed by seed, both arms of a rate side by side."""
    return [
        RunSpec(
            name := f"rate-{arm}-{rate:g}-s{seed}",
            path,
            (f"grpo.learning_rate={rate}", f"seed={seed}", f"name={name}", *MEASURED),
        )
        for seed in SEEDS
        for rate in RATES
        for arm, path in ARMS.items()
    ]


def measured(folder: Path) -> dict[str, dict[str, float]]:
    """The metrics of a finished cell at its start and its end, without the set's name."""
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((folder / "evaluation").glob("step-*.json"))
    ]
    start, end = (
        {name.removeprefix("eval/validation/"): round(value, 4) for name, value in row.items()}
        for row in (found[0], found[-1])
    )
    return {"start": start, "end": end}


def mean(known: dict[str, Any], rate: float, metric: str, *, arm: str | None = None) -> float:
    """A metric after training, over the seeds, and over the arms if none is named."""
    values = [
        known[f"rate-{name}-{rate:g}-s{seed}"]["end"][metric]
        for seed in SEEDS
        for name in ([arm] if arm else ARMS)
    ]
    return sum(values) / len(values)


def best(known: dict[str, Any]) -> float:
    """The rate with the highest pass@1 over both arms and all seeds; the lower one of equals."""
    return max(RATES, key=lambda rate: (round(mean(known, rate, "pass_at_1"), 9), -rate))


def table(known: dict[str, Any]) -> str:
    """Markdown: the start, then each rate and arm, in per cent; greedy also by family."""
    start = next(iter(known.values()))["start"]
    families = [name.split("/")[0] for name in start if name.endswith("/accuracy_greedy")]
    metrics = ["pass_at_1", "accuracy_greedy", *(f"{name}/accuracy_greedy" for name in families)]
    heads = ["rate", "arm", "pass@1", "greedy", *(f"{name}, greedy" for name in families)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]

    def line(rate: str, arm: str, values: list[float]) -> None:
        texts = [rate, arm, *(f"{100 * value:.1f}" for value in values)]
        lines.append("| " + " | ".join(texts) + " |")

    line("-", "start", [start[metric] for metric in metrics])
    for rate in RATES:
        for arm in ARMS:
            line(f"{rate:g}", arm, [mean(known, rate, metric, arm=arm) for metric in metrics])
    return "\n".join(lines)


def run(jobs: int) -> dict[str, Any]:
    """Run what is missing, two cells at a time or more; every pair is kept once it is finished."""
    from ekipl_lab.commands.console import CellProgress
    from ekipl_lab.tracking import ensure_store, store_folder

    ensure_store()
    now, record = origin(), {}
    if OUT.is_file():
        record = json.loads(OUT.read_text(encoding="utf-8"))
    known: dict[str, Any] = record["cells"] if record.get("origin") == now else {}
    todo = [cell for cell in cells() if cell.name not in known]
    for first in range(0, len(todo), jobs):
        batch = todo[first : first + jobs]
        with CellProgress([cell.name for cell in batch]) as progress:
            results = run_cells(  # fresh: a cell of this name may have begun from something else
                batch, jobs=jobs, logs=store_folder() / "logs", on_event=progress, fresh=True
            )
        for result in results:
            if result.returncode != 0:
                raise SystemExit(f"{result.cell.name} failed; see {result.log}")
            known[result.cell.name] = measured(store_folder() / "work" / result.cell.name)
        write_text(OUT, json.dumps({"origin": now, "cells": known}, indent=1) + "\n")
    return known


def main(arguments: list[str] | None = None) -> int:
    """Run, write the table, name the rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--draw", action="store_true", help="rewrite the table only")
    args = parser.parse_args(arguments)
    known = json.loads(OUT.read_text(encoding="utf-8"))["cells"] if args.draw else run(args.jobs)
    print(table(known))
    print(f"best: {best(known):g}")
    write_text(DOC, put_between(DOC.read_text(encoding="utf-8"), BEGIN, END, table(known)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
