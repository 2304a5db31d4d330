"""Pilots on a study policy: what does GRPO, or plain supervised learning, move from there?

    python -m perf.ground grpo NAME --policy FOLDER --task counting --families compare open_one \
        [--seeds 0 1 2] [--items 80] [grpo.learning_rate=2e-4 ...]
    python -m perf.ground sft NAME --policy FOLDER --task counting --families compare rare_one \
        --mixture '{"caption": 1, "rare_one:walk": 4}' --steps 100 [--seeds 0 1 2]

Validation split only (seed 1, unless `--seed` says another: strata are assigned on other seeds), 16
completions an item. Every pilot is appended to results/ground/{grpo,sft}_pilots.jsonl (`--out`: the
folder) with its command. What was measured is kept in a cache, so that a second start goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from ekipl_lab.tracking import ensure_store, metric_history, store_folder
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run import train
from ekipl_lab.training.sft.config import sft_config_from
from ekipl_lab.training.sft.run import run_sft
from perf.strata import ROOT, measure

RESULTS = ROOT / "results" / "ground"
SAMPLES = 16
FIGURES = ("greedy", "sampled", "pass_at_8", "sound_sampled")


def figures(folder: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Family, or ``family@level`` -> greedy, sampled, pass@8, sound chains."""
    rows = measure(folder, args.task, args.families, args.items, args.seed, samples_each=SAMPLES)
    found = {}
    for family, row in rows.items():
        found[family] = row
        found |= {f"{family}@{level}": own for level, own in row["levels"].items()}
    return {key: {name: row[name] for name in FIGURES} for key, row in found.items()}


def grpo(args: argparse.Namespace, seed: int) -> tuple[Path, dict[str, Any]]:
    """Train one run from the study policy; its folder and what it was."""
    name = f"ground-{args.name}-s{seed}"
    trained = args.train or args.families
    config = load_config(
        ROOT / args.config,
        [
            f"policy.path={args.policy}",
            f"data.task={args.task}",
            f"data.families=[{', '.join(trained)}]",
            f"seed={seed}",
            f"name={name}",
            *args.overrides,
        ],
    )
    run_id = train(config, fresh=args.fresh).run_id
    folder = store_folder() / "work" / name / "policy"
    shares = [share for _, share in metric_history(run_id)["policy/truncated"]]
    return folder, {
        "overrides": args.overrides, "trained": trained, "config": args.config,
        "cut_off": round(sum(shares) / len(shares), 4),
    }  # fmt: skip


def sft(args: argparse.Namespace, seed: int) -> tuple[Path, dict[str, Any]]:
    """Supervised steps from the study policy; the folder and what was shown."""
    name = f"ground-{args.name}-s{seed}"
    work = store_folder() / "work" / name
    stage = {"name": "more", "steps": args.steps, "patch_loss": 0.1, "mixture": args.mixture}
    stage |= yaml.safe_load("{" + ", ".join(args.overrides).replace("=", ": ") + "}")
    data = {
        "name": name,
        "task": args.task,
        "seed": 100 + seed,
        "backdrops": 0.5 if args.task == "counting" else 0.0,
        "image_size": 84 if args.task == "geometry" else 56,
        "init": args.policy,
        "work_dir": work,
        "output": work / "policy",
        "stages": [stage],
    }
    config = sft_config_from(data, name)
    run_sft(config)
    chains = config.stages[0].batch_size * args.steps
    total = sum(args.mixture.values())
    shown = {key: round(chains * share / total) for key, share in args.mixture.items()}
    return work / "policy", {"stage": stage, "chains": shown}


def parser() -> argparse.ArgumentParser:
    """What a pilot is told."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("grpo", "sft"))
    parser.add_argument("name")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--families", nargs="+", required=True, help="measured, and trained on")
    parser.add_argument("--train", nargs="+", help="families trained on, if others")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--items", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1, help="of the validation items")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--config", default="configs/study_grpo.yaml")
    parser.add_argument("--mixture", type=json.loads)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a pilot on every seed, measure start and end, append the records."""
    args = parser().parse_args(arguments)
    ensure_store()
    start = figures(args.policy, args)
    for seed in args.seeds:
        began, cpu = time.monotonic(), time.process_time()
        folder, about = (grpo if args.kind == "grpo" else sft)(args, seed)
        record = {
            "name": args.name,
            "seed": seed,
            "command": " ".join(["python -m perf.ground", *(arguments or sys.argv[1:])]),
            "policy": str(args.policy),
            **about,
            "seconds": round(time.monotonic() - began),
            "cpu_seconds": round(time.process_time() - cpu),
            "measured": {
                "split": "validation",
                "seed": args.seed,
                "items": args.items,
                "of": SAMPLES,
            },
            "start": start,
            "end": figures(folder, args),
        }
        path = args.out / f"{args.kind}_pilots.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, default=str) + "\n")
        for family, after in record["end"].items():
            moves = (f"{start[family][k]:.3f} -> {after[k]:.3f}" for k in FIGURES)
            print(f"{args.name} s{seed} {family}: {' | '.join(moves)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
