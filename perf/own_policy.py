"""A tiny policy for data from elsewhere: how far does one core come, and does GRPO go on from it?

    python perf/own_policy.py [NAME] [--questions 10000] [--learned N] [--minutes 12 | --steps N]
        [--final 0.03] [--seeds 0] [--grpo 60] [--set grpo.learning_rate=3e-4 ...] [--folder FOLDER]

Writes the data set of ``perf/stickers.py``, makes a policy of its first ``--learned`` questions
(default: all) by `ekipl sft`, trains GRPO from it on the questions after these (without --learned:
on the same ones) by `ekipl train`, measures both on 400 questions of the validation split (greedy,
and 8 samples each; differences paired by question), and writes results/own_policy/NAME.json.
A policy that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from ekipl_lab.files import read_json, write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "own_policy"
SAMPLES, ITEMS = 8, 400
FIGURES = ("accuracy_greedy", "pass_at_1", f"pass_at_{SAMPLES}")


def command(*words: str) -> float:
    """Run one of ours; the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def evaluations(source: str, data: Path) -> dict[str, Any]:
    """Mode -> the evaluation of a policy on the validation split."""
    import ekipl_lab as ek

    samples = ek.load_samples(str(data), task="wall", split="validation", limit=ITEMS)
    policy = ek.load_policy(source)
    return {
        mode: ek.evaluate(policy, samples, mode=mode, num_samples=SAMPLES, max_new_tokens=16)
        for mode in ("greedy", "sampled")
    }


def measured(found: dict[str, Any]) -> dict[str, Any]:
    """Greedy and sampled accuracy and pass@8, each with its interval."""
    rows = [row for one in found.values() for row in one.summary.to_dict("records")]
    return {
        row["metric"]: [round(row[name], 4) for name in ("value", "low", "high")]
        for row in rows
        if row["metric"] in FIGURES
    }


def moved(after: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
    """Greedy and sampled accuracy, after minus start, paired by question; 95 % intervals."""
    import ekipl_lab as ek

    found = {mode: ek.compare(after[mode], start[mode]) for mode in start}
    return {
        mode: [round(value, 4) for value in (one.difference, one.low, one.high)]
        for mode, one in found.items()
    }


def make_policy(chosen: argparse.Namespace, data: Path, policy: Path) -> None:
    """`ekipl sft` by a config of its own."""
    read = {"benchmark": str(data)} | ({"limit": chosen.learned} if chosen.learned else {})
    length = {"steps": chosen.steps} if chosen.steps else {"minutes": chosen.minutes}
    config = {"name": policy.name, "data": read, "output": str(policy), "init": chosen.init}
    path = policy.with_name(f"{policy.name}.yaml")
    write_text(path, yaml.safe_dump(config | length | {"final": chosen.final}))
    if not (policy / "reached.json").is_file():
        command("-m", "ekipl_lab", "sft", "--config", str(path))


def grpo(chosen: argparse.Namespace, policy: Path, seed: int) -> tuple[str, float]:
    """`ekipl train` from the policy; the run's address and its CPU seconds."""
    from ekipl_lab import tracking

    rest = chosen.questions - chosen.learned
    unseen = [f"data.start={chosen.learned}", f"data.limit={rest}"] if chosen.learned else []
    name = f"own_{chosen.name}_s{seed}"
    run = ["train", "--config", str(policy / "grpo.yaml"), "--fresh", f"name={name}"]
    run += [f"grpo.max_steps={chosen.grpo}", f"seed={seed}", "evaluation.sampled=never", *unseen]
    seconds = command("-m", "ekipl_lab", *run, *chosen.overrides)
    (latest, *_) = tracking.list_runs(name=name)
    return f"mlflow:{latest.run_id}", seconds


def options() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", nargs="?", default="stickers")
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--learned", type=int, help="questions of the supervised steps; the rest "
                        "is for GRPO")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--final", type=float, default=0.03)
    parser.add_argument("--grpo", type=int, default=60, help="steps of GRPO; 0: none")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of GRPO")
    parser.add_argument("--init", default="assets/policies/counting")
    parser.add_argument("--folder", type=Path, default=ROOT / "mlruns" / "work" / "own_policy")
    parser.add_argument("--policy", default="policy", help="its folder within --folder")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    return parser


def main() -> None:
    """Data, policy, GRPO, figures."""
    chosen = options().parse_args()
    data, policy = chosen.folder / "stickers" / "stickers.yaml", chosen.folder / chosen.policy
    if not data.is_file():
        command("perf/stickers.py", str(data.parent), "--questions", str(chosen.questions))
    make_policy(chosen, data, policy)
    start = evaluations(str(policy), data)
    record: dict[str, Any] = {
        "command": "python perf/own_policy.py " + " ".join(sys.argv[1:]),
        "sft": read_json(policy / "reached.json"),
        "start": measured(start),
        "grpo": [],
    }
    out = RESULTS / f"{chosen.name}.json"
    for seed in chosen.seeds if chosen.grpo else ():
        run, seconds = grpo(chosen, policy, seed)
        after = evaluations(run, data)
        record["grpo"].append(
            {
                "seed": seed,
                "steps": chosen.grpo,
                "cpu_seconds": round(seconds),
                "after": measured(after),
                "moved": moved(after, start),
            }
        )
        write_text(out, json.dumps(record, indent=1) + "\n")
        print(json.dumps(record["grpo"][-1]), flush=True)
    write_text(out, json.dumps(record, indent=1) + "\n")
    print(json.dumps({key: record[key] for key in record if key != "sft"}, indent=1))


if __name__ == "__main__":
    main()
