"""A tiny policy for data from elsewhere: how far does one core come, and does GRPO go on from it?

    python perf/own_policy.py [--minutes 12] [--steps N] [--grpo 60] [--folder FOLDER]

Writes the data set of ``perf/stickers.py`` (10,000 questions), makes a policy of it by `ekipl sft`,
trains GRPO from it by `ekipl train`, measures both on 400 questions of the validation split
(greedy, and 8 samples each), and writes results/own_policy/stickers.json. Resumable.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from ekipl_lab.files import read_json, write_text

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "results" / "own_policy" / "stickers.json"
SAMPLES = 8


def command(*words: str) -> float:
    """Run one of ours; the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(source: str, data: Path) -> dict[str, Any]:
    """Greedy and sampled accuracy and pass@8 on validation, each with its interval."""
    import ekipl_lab as ek

    samples = ek.load_samples(str(data), task="wall", split="validation", limit=400)
    policy, found = ek.load_policy(source), {}
    for mode in ("greedy", "sampled"):
        done = ek.evaluate(policy, samples, mode=mode, num_samples=SAMPLES, max_new_tokens=16)
        for row in done.summary.to_dict("records"):
            if row["metric"] in ("accuracy_greedy", "pass_at_1", f"pass_at_{SAMPLES}"):
                found[row["metric"]] = [round(row[name], 4) for name in ("value", "low", "high")]
    return found


def main() -> None:
    """Data, policy, GRPO, figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--grpo", type=int, default=60, help="steps of GRPO; 0: none")
    parser.add_argument("--init", default="assets/policies/counting")
    parser.add_argument("--folder", type=Path, default=ROOT / "mlruns" / "work" / "own_policy")
    chosen = parser.parse_args()
    data, policy = chosen.folder / "stickers" / "stickers.yaml", chosen.folder / "policy"
    if not data.is_file():
        command("perf/stickers.py", str(data.parent), "--questions", "10000")
    length = ["--steps", str(chosen.steps)] if chosen.steps else ["--minutes", str(chosen.minutes)]
    sft = ["sft", "--data", str(data), "--out", str(policy), "--init", chosen.init, *length]
    command("-m", "ekipl_lab", *sft)
    record = {
        "command": "python perf/own_policy.py " + " ".join(sys.argv[1:]),
        "sft": read_json(policy / "reached.json"),
        "start": measured(str(policy), data),
    }
    if chosen.grpo:
        run = ["train", "--config", str(policy / "grpo.yaml"), f"grpo.max_steps={chosen.grpo}"]
        seconds = command("-m", "ekipl_lab", *run, "evaluation.sampled=never")
        from ekipl_lab import tracking

        (latest, *_) = tracking.list_runs(name="policy_grpo")
        after = measured(f"mlflow:{latest.run_id}", data)
        record["grpo"] = {"steps": chosen.grpo, "cpu_seconds": round(seconds), "after": after}
    write_text(OUT, json.dumps(record, indent=1) + "\n")
    print(json.dumps({key: record[key] for key in record if key != "sft"}, indent=1))


if __name__ == "__main__":
    main()
