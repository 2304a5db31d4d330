"""Three question families from outside: made by someone who had seen no result of the project.

    python -m perf.outside make perf/outside_data
    python -m perf.outside blind
    python -m perf.outside measure --data perf/outside_data/data.yaml \
        --policy NAME=PATH ... --out FILE
    python -m perf.outside table FILE [--arms]

What the families ask, and why: docs/outside.md; how they are made: perf/outside_items.py. ``blind``
says how far solvers get that do not understand the pictures. ``measure`` runs what `ekipl eval`
runs, greedily and with 16 completions an item, and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.mini.solvers import SOLVERS
from ekipl_lab.benchmarks.user_data import read_description
from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation import summarize
from ekipl_lab.evaluation.job import Job, Measured, job_id, load_sets, run_job
from ekipl_lab.evaluation.metrics import success_counts
from ekipl_lab.evaluation.model_source import open_model_source
from ekipl_lab.files import read_json, write_text
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import EvalRecord, Sample
from perf.outside_items import FAMILIES, ITEMS, Item, make, make_item

CACHE = Path(__file__).resolve().parent.parent / "mlruns" / "work" / "outside"
SAMPLES, KS = 16, (1, 8)
#: Items of each family that blind solvers are tried on, a multiple of ``ITEMS``.
WIDER = 400
METRICS = ("accuracy_greedy", "pass_at_1", "pass_at_8")


def blind() -> dict[str, dict[str, list[float]]]:
    """Family -> blind solver -> its share of right answers, on its items and on ``WIDER`` ones.

    The wider ones begin with the items themselves; fitted is on as many others.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for family in FAMILIES:
        made = [_sample(make_item(family, index)) for index in range(2 * WIDER)]
        hits = {name: solve(made[WIDER:], made[:WIDER]) for name, solve in SOLVERS.items()}
        found[family] = {
            name: [round(float(part.mean()), 4) for part in (hit[:ITEMS], hit)]
            for name, hit in hits.items()
        }
    return found


def _sample(item: Item) -> Sample:
    row, pictures = item.row(), (item.picture(),)
    return Sample(
        item.id, "counting", "test", pictures, row["question"], row["answer"], "text", item.family
    )


def measure(data: str, policies: dict[str, str], items: int | None = None) -> dict[str, Any]:
    """The record of all policies, as JSON values; ``items`` of each family, default all."""
    task = read_description(data).task
    record: dict[str, Any] = {"data": {"path": data}, "samples": SAMPLES, "policies": {}}
    for name, path in policies.items():
        job = Job(
            source=path,
            benchmark=data,
            tasks=(task,),
            limit=None if items is None else items * len(FAMILIES),
            num_samples=SAMPLES,
            ks=KS,
        )
        sets = load_sets(job)
        samples = [sample for chosen in sets.values() for sample in chosen]
        model = open_model_source(path, samples, job.loading)
        folder = CACHE / job_id(job, model)
        folder.mkdir(parents=True, exist_ok=True)
        found = run_job(job, folder, sets=sets, model=model, scorer=get_scorer(job.scorer))
        record["data"] |= found.summary["data"][job.splits[0]]
        record["constant"] = _constant(samples)
        record["policies"][name] = {"path": path, "key": model.key, "families": _families(found)}
    return record


def _constant(samples: Sequence[Sample]) -> dict[str, float]:
    """Family -> share of its most frequent answer."""
    by_family: dict[str, Counter[str]] = {}
    for sample in samples:
        by_family.setdefault(sample.family, Counter())[sample.answer] += 1
    return {name: max(answers.values()) / answers.total() for name, answers in by_family.items()}


def _families(found: Measured) -> dict[str, Any]:
    """Family -> counts, and metrics with their intervals."""
    families: dict[str, Any] = {}
    for record in found.records:
        families.setdefault(record.family, Counter()).update(_count(record))
    families = {name: dict(counts) for name, counts in families.items()}
    for row in summarize(found.records, ("family",), KS):
        if row.metric in METRICS:
            interval = {"value": row.value, "low": row.low, "high": row.high, "method": row.method}
            families[str(row.group["family"])][row.metric] = interval
    return families


def _count(record: EvalRecord) -> dict[str, int]:
    scored, right = success_counts(record)
    if record.mode == "greedy":
        return {"items": 1, "greedy_scored": scored, "greedy_right": right}
    return {"sampled_scored": scored, "sampled_right": right, "items_ever_right": int(right > 0)}


def table(record: dict[str, Any]) -> str:
    """The record as a Markdown table, in percent with 95 % intervals."""
    lines = [
        "| family | policy | items | constant | greedy | pass@1 | pass@8 |",
        "|---|---|---|---|---|---|---|",
    ]
    for family, constant in record["constant"].items():
        for name, policy in record["policies"].items():
            row = policy["families"][family]
            figures = " | ".join(_percent(row[metric]) for metric in METRICS)
            lines.append(
                f"| {family} | {name} | {row['items']} | {100 * constant:.1f} | {figures} |"
            )
    return "\n".join(lines)


def by_arm(record: dict[str, Any]) -> str:
    """The same by arm, of policies that are called ARM-SEED: mean, lowest to highest seed."""
    lines = ["| family | arm | seeds | greedy | pass@1 | pass@8 |", "|---|---|--:|---|---|---|"]
    for family in record["constant"]:
        arms: dict[str, list[dict[str, Any]]] = {}
        for name, policy in record["policies"].items():
            arms.setdefault(name.rpartition("-")[0] or name, []).append(policy["families"][family])
        for arm, rows in arms.items():
            told = [_mean([100 * row[metric]["value"] for row in rows]) for metric in METRICS]
            lines.append(f"| {family} | {arm} | {len(rows)} | {' | '.join(told)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else mean


def _percent(found: dict[str, Any]) -> str:
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _named(text: str) -> tuple[str, str]:
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, path


def main(arguments: Sequence[str] | None = None) -> int:
    """The commands of the head of this file."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make").add_argument("folder", type=Path)
    commands.add_parser("blind")
    measuring = commands.add_parser("measure")
    measuring.add_argument("--data", required=True, help="the YAML file of the data")
    measuring.add_argument("--policy", type=_named, action="append", required=True)
    measuring.add_argument("--items", type=int, help="items of each family; default: all")
    measuring.add_argument("--out", type=Path, required=True)
    shown = commands.add_parser("table")
    shown.add_argument("record", type=Path)
    shown.add_argument("--arms", action="store_true", help="means over policies called ARM-SEED")
    args = parser.parse_args(given)
    if args.command == "make":
        make(args.folder)
    elif args.command == "blind":
        print(json.dumps(blind(), indent=1))
    elif args.command == "measure":
        policies = dict(args.policy)
        if len(policies) < len(args.policy):
            raise ConfigError("Two policies have the same name; name each one once.")
        command = " ".join(["python -m perf.outside", *given])
        record = {"command": command} | measure(args.data, policies, args.items)
        write_text(args.out, json.dumps(record, indent=1) + "\n")
    else:
        known = read_json(args.record)
        if known is None:
            raise ConfigError(f"{args.record} does not exist; measure first.")
        print(by_arm(known) if args.arms else table(known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
