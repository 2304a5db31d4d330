"""Does a policy that is trained again land where the shipped one stands?

    python perf/retraining.py counting [--name again] [--seeds 0 23] [--items 400]
    python perf/retraining.py counting_study     # any of assets/policies
    python perf/retraining.py --draw             # the table only

Runs `ekipl sft` on configs/sft_POLICY.yaml into a folder of its own: a warm start from nothing (an
hour of one core and more), a study policy from the shipped warm start. A second start goes on where
the first was stopped. Measures the result as `ekipl headroom` does, and compares it with the
shipped policy: a warm start's figures in results/headroom.json (validation, seed 0) and
results/headroom_seed23.json, or measured here for another policy or seed. Each
retraining is kept in results/retraining/; the table goes into docs/policy.md. Exit code 1 if a
figure lies outside the margin.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

from ekipl_lab.evaluation.headroom import headroom
from ekipl_lab.files import put_between, write_text
from ekipl_lab.policies import load_policy
from ekipl_lab.training.sft.config import load_sft_config
from ekipl_lab.training.sft.run import run_sft
from ekipl_lab.training.sft.state import load_state
from ekipl_lab.training.sft.warm_start import fingerprint, fingerprints

ROOT = Path(__file__).resolve().parent.parent
RESULTS, DOC = ROOT / "results" / "retraining", ROOT / "docs" / "policy.md"
POLICIES = ROOT / "assets" / "policies"
#: What `ekipl headroom` has measured of the shipped policies.
SHIPPED = [ROOT / "results" / name for name in ("headroom.json", "headroom_seed23.json")]
BEGIN, END = "<!-- retraining: generated, do not edit -->", "<!-- retraining: end -->"
#: How far a figure may lie from the shipped policy's, by kind; docs/policy.md has the reasons.
MARGIN = {"sub-skill": 0.05, "family": 0.15}


def figures(found: dict[str, Any]) -> dict[str, tuple[str, float]]:
    """Name -> (kind, share right): sub-skills greedy, families sampled."""
    skills = {name: ("sub-skill", row["value"]) for name, row in found["sub_skills"].items()}
    families = {
        name: ("family", row["sampled"]["value"]) for name, row in found["families"].items()
    }
    return skills | families


def differences(shipped: dict[str, Any], again: dict[str, Any]) -> dict[str, tuple[str, float]]:
    """Name -> (kind, again minus shipped)."""
    before, after = figures(shipped), figures(again)
    return {name: (kind, after[name][1] - value) for name, (kind, value) in before.items()}


def outside(shipped: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """The figures further from the shipped policy's than the margin allows, and changed strata."""
    found = differences(shipped, again)
    far = [name for name, (kind, by) in found.items() if round(abs(by), 9) > MARGIN[kind]]
    families = again["families"]
    return far + [
        f"{name} ({row['stratum']} to {families[name]['stratum']})"
        for name, row in shipped["families"].items()
        if row["stratum"] != families[name]["stratum"]
    ]


def retrain(policy: str, name: str, seeds: list[int], items: int) -> dict[str, Any]:
    """Train, or go on, and measure."""
    config = load_sft_config(ROOT / "configs" / f"sft_{policy}.yaml")
    work = ROOT / "mlruns" / "work" / "retraining" / f"{policy}-{name}"
    config = config.model_copy(update={"work_dir": work, "output": work / "policy"})
    folder = run_sft(config)
    state = load_state(work, fingerprints(config))
    assert state is not None
    weights = [_digest(path / "model.safetensors") for path in (folder, POLICIES / policy)]
    task = config.task
    return {
        "task": task,
        "policy": policy,
        "name": name,
        "recipe": fingerprint(config),
        "seconds": round(state[1].seconds),
        "torch": torch.__version__,
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "shipped_weights": weights[1],
        "same_weights": weights[0] == weights[1],
        "seeds": {
            str(seed): {
                "again": headroom(load_policy(folder), task=task, seed=seed, items=items),
                "shipped": _shipped(policy, task, seed, items),
            }
            for seed in seeds
        },
    }


def _shipped(policy: str, task: str, seed: int, items: int) -> dict[str, Any]:
    for path in SHIPPED if policy == task else ():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))[task]
        if (known["seed"], known["items"]) == (seed, items):
            return known
    return headroom(load_policy(POLICIES / policy), task=task, seed=seed, items=items)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def table(records: list[dict[str, Any]]) -> str:
    """All retrainings as Markdown, one line per seed of the validation split."""
    lines = [
        "| policy | retraining | weights | seed | gates | sub-skill that moved most "
        "| family that moved most | outside the margin | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        for seed, pair in record["seeds"].items():
            moved = differences(pair["shipped"], pair["again"])
            after = figures(pair["again"])
            cells = []
            for kind in MARGIN:
                of_kind = {name: by for name, (its, by) in moved.items() if its == kind}
                name = max(of_kind, key=lambda one: abs(of_kind[one]))
                now = after[name][1]
                cells.append(f"{name} {now - of_kind[name]:.3f} to {now:.3f}")
            failed = [gate for gate, held in pair["again"]["gates"].items() if not held]
            gates = f"fail: {', '.join(failed)}" if failed else "hold"
            out = ", ".join(outside(pair["shipped"], pair["again"])) or "none"
            weights = "the same" if record["same_weights"] else "others"
            policy = record.get("policy", record["task"])
            lines.append(
                f"| {policy} | {record['name']} | {weights} | {seed} | {gates} | {cells[0]} "
                f"| {cells[1]} | {out} | {record['seconds']} |"
            )
    return "\n".join(lines)


def load_records() -> list[dict[str, Any]]:
    """Every retraining that is kept, by file name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def main(arguments: list[str] | None = None) -> int:
    """Retrain, measure, rewrite the table; 1 if a figure lies outside the margin."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [path.name for path in sorted(POLICIES.iterdir())]
    parser.add_argument("policy", nargs="?", choices=known, help="one of assets/policies")
    parser.add_argument("--name", default="again")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 23])
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--draw", action="store_true", help="rewrite the table only")
    args = parser.parse_args(arguments)
    if args.policy is None and not args.draw:
        parser.error("name a policy, or give --draw")
    if args.policy is not None:
        record = retrain(args.policy, args.name, args.seeds, args.items)
        text = json.dumps(record, indent=1) + "\n"
        write_text(RESULTS / f"{args.policy}-{args.name}.json", text)
    records = load_records()
    print(table(records))
    write_text(DOC, put_between(DOC.read_text(encoding="utf-8"), BEGIN, END, table(records)))
    pairs = [pair for record in records for pair in record["seeds"].values()]
    return int(any(outside(pair["shipped"], pair["again"]) for pair in pairs))


if __name__ == "__main__":
    sys.exit(main())
