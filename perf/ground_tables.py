"""The tables of docs/strata.md, by one command: strata, what GRPO moves, what teacher actions move.

    python -m perf.ground_tables                # measure what is missing, rewrite the page (hours)
    python -m perf.ground_tables --draw         # rewrite the page from results/ground/
    python -m perf.ground_tables --out FOLDER --seed 11 --training-seeds 3 4 5 [--tasks geometry]

``perf/ground.yaml`` names the policies, families and settings. With `--out` everything is measured
anew, on that seed of the validation split and those training seeds, and the tables go to
FOLDER/tables.md. A second start goes on with what is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from ekipl_lab.files import put_between, read_json, write_text
from perf import ground, strata

ROOT, RESULTS, DOC = strata.ROOT, ground.RESULTS, strata.DOC
PLAN = ROOT / "perf" / "ground.yaml"
BEGIN, END = "<!-- ground: generated, do not edit -->", "<!-- ground: end -->"
KINDS = {
    "grpo": "What GRPO moves, in the families that it is trained on and in others",
    "sft": "What supervised steps on teacher actions move: the upper control",
}


def records(folder: Path, kind: str) -> dict[tuple[str, int], dict[str, Any]]:
    """(Pilot, training seed) -> its newest record."""
    path = folder / f"{kind}_pilots.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return {(record["name"], record["seed"]): record for record in found}


def call_of(kind: str, name: str, pilot: dict[str, Any]) -> list[str]:
    """The arguments of `python -m perf.ground` for a pilot of the plan, but for seeds."""
    call = [kind, name, "--policy", f"assets/policies/{pilot['policy']}", "--task", pilot["task"]]
    call += ["--families", *pilot["families"], "--items", str(pilot["items"])]
    if kind == "grpo":
        call += ["--train", *pilot["train"]]
    else:
        call += ["--mixture", json.dumps(pilot["mixture"]), "--steps", str(pilot["steps"])]
    return [*call, "--set", *pilot["set"]]


def measure(plan: dict[str, Any], args: argparse.Namespace) -> None:
    """Run what is missing in ``args.out``."""
    anew = args.seed is not None
    known = read_json(args.out / "strata.json") or {}
    for one in plan["strata"]:
        if one["task"] not in args.tasks or one["policy"] in known:
            continue
        seed = args.seed if anew else one["seed"]
        folder = f"assets/policies/{one['policy']}"
        call = [folder, "--task", one["task"], "--items", str(one["items"]), "--seed", str(seed)]
        strata.main([*call, "--out", str(args.out / "strata.json")])
    for kind in KINDS:
        done = records(args.out, kind)
        for name, pilot in plan[kind].items():
            wanted = [seed for seed in args.training_seeds if (name, seed) not in done]
            if pilot["task"] not in args.tasks or not wanted:
                continue
            seeds = ["--seeds", *map(str, wanted), "--out", str(args.out)]
            seeds += ["--seed", str(args.seed)] if anew else []
            call = call_of(kind, name, pilot)
            ground.main([*call[:2], *seeds, *call[2:]])


def of_mixture(mixture: dict[str, float]) -> list[str]:
    """The families that a mixture shows, without the style of their chains."""
    return [entry.partition(":")[0] for entry in mixture]


def signed(before: float, after: float) -> str:
    """A movement in points."""
    return f"{100 * (after - before):+.1f}"


def table(kind: str, plan: dict[str, Any], folder: Path, seeds: list[int]) -> str:
    """One line for each measured family: where it began, and what each training seed moved.

    A family that lies between the strata is shown by level, too, where that was recorded.
    """
    moved = " | ".join(f"sampled, s{seed}" for seed in seeds)
    greedy = ", ".join(f"s{seed}" for seed in seeds)
    lines = [
        f"| policy, pilot | family | stratum | learned | start: greedy, sampled, pass@8 | {moved} "
        f"| greedy, {greedy} |",
        "|---|---|---|---|---|" + "---|" * (len(seeds) + 1),
    ]
    known, done = read_json(folder / "strata.json") or {}, records(folder, kind)
    for name, pilot in plan[kind].items():
        shown = pilot["train"] if kind == "grpo" else of_mixture(pilot["mixture"])
        runs = [done[name, seed] for seed in seeds if (name, seed) in done]
        if not runs:
            continue
        for key, start in runs[0]["start"].items():
            family, _, level = key.partition("@")
            place = known.get(pilot["policy"], {}).get("families", {}).get(family, {})
            lies = place.get("stratum", "")
            if level and lies != "between":
                continue
            if level:
                lies = place["levels"][level]["stratum"]
            ends = [run["end"][key] for run in runs]
            first = f"{start['greedy']:.2f}, {start['sampled']:.2f}, {start['pass_at_8']:.2f}"
            columns = [signed(start["sampled"], end["sampled"]) for end in ends]
            columns += [""] * (len(seeds) - len(ends))
            columns.append(", ".join(signed(start["greedy"], end["greedy"]) for end in ends))
            learned = "yes" if family in shown else "no"
            what = f"{family}, level {level}" if level else family
            row = [f"{pilot['policy']}, {name}", what, lies, learned, first, *columns]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def tables(plan: dict[str, Any], folder: Path, seeds: list[int]) -> str:
    """Both tables of pilots, each under its sentence."""
    return "\n\n".join(f"{KINDS[kind]}.\n\n{table(kind, plan, folder, seeds)}" for kind in KINDS)


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, rewrite the tables."""
    plan = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    tasks = [one["task"] for one in plan["strata"]]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="rewrite the tables only")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seed", type=int, help="of the validation items, with --out")
    parser.add_argument("--training-seeds", type=int, nargs="+", default=plan["seeds"])
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks)
    args = parser.parse_args(arguments)
    committed = args.out.resolve() == RESULTS
    if (args.seed is None) != committed:
        parser.error("give --seed and --out together, or neither")
    if not args.draw:
        measure(plan, args)
    text = tables(plan, args.out, args.training_seeds)
    if committed:
        page = DOC.read_text(encoding="utf-8")
        write_text(DOC, put_between(page, BEGIN, END, text))
    else:
        known = read_json(args.out / "strata.json") or {}
        write_text(args.out / "tables.md", strata.table(known) + "\n\n" + text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
