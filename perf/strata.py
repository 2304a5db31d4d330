"""In which stratum does each question family of a policy lie: solved, open, rare or never?

    python -m perf.strata FOLDER --task counting [--items 200] [--name counting_study]
    python -m perf.strata --draw              # the table only

Validation split only. Every study family, and each of its difficulty levels: greedy accuracy, and
pass@1 and pass@8 from 64 completions an item at temperature 1. `STRATA` says what the strata are.
Families in a row of a stratum of their own count as a whole; in a mixed family its levels do.
Completions are kept in a cache, so that a second start goes on. Measurements stand in
results/ground/strata.json, the table in docs/strata.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks import Request, iterate_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import check_chain
from ekipl_lab.benchmarks.mini.freeze import folder_digest
from ekipl_lab.benchmarks.mini.task import MINI_VERSION
from ekipl_lab.evaluation import check_chains, evaluate, summarize
from ekipl_lab.evaluation.metrics import success_counts
from ekipl_lab.files import put_between, read_json, write_text
from ekipl_lab.policies import PolicySource, load_policy
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import EvalRecord, Sample

ROOT = Path(__file__).resolve().parent.parent
OUT, DOC = ROOT / "results" / "ground" / "strata.json", ROOT / "docs" / "strata.md"
CACHE = ROOT / "mlruns" / "work" / "strata"
BEGIN, END = "<!-- strata: generated, do not edit -->", "<!-- strata: end -->"
SAMPLES, KS = 64, (1, 8, 64)
WANTED = ("solved", "open", "rare", "never")


@dataclass(frozen=True, slots=True)
class Cell:
    """The figures of a family or one of its levels; ``none`` is the share of items with 0 of 64."""

    greedy: float
    sampled: float
    pass_at_8: float
    none: float
    sound: float
    items: int


def stratum(cell: Cell) -> str:
    """The stratum of a family or level by its figures, or ``between``."""
    if cell.greedy >= 0.85:
        return "solved"
    if 0.25 <= cell.greedy <= 0.6 and cell.pass_at_8 >= cell.greedy + 0.25:
        return "open"
    if 0.01 <= cell.sampled <= 0.05 and 0.08 <= cell.pass_at_8 <= 0.3:
        return "rare"
    return "never" if cell.none >= 0.95 else "between"


def measure(
    folder: Path,
    task: str,
    families: Sequence[str],
    items: int,
    seed: int,
    samples_each: int = SAMPLES,
) -> dict[str, Any]:
    """The cells of ``families`` and of their levels, as JSON values."""
    policy, digest = load_policy(folder), folder_digest(folder)
    size = int(policy.processor.image_processor.size["shortest_edge"] ** 0.5)
    rows: dict[str, Any] = {}
    for family in families:
        request = Request(task, "validation", (family,), seed=seed, image_size=size)
        stream = iterate_samples("mini", request)
        samples = list(islice(stream, items))
        records: list[EvalRecord] = []
        for mode in ("greedy", "sampled"):
            records += evaluate(
                PolicySource(policy),
                samples,
                get_scorer("ekipl/auto"),
                mode=mode,
                num_samples=samples_each,
                max_new_tokens=112,
                seed=seed,
                cache=CACHE / f"{digest[:16]}-{mode}-s{seed}-of{samples_each}",
                model_key=digest,
            )
        rows[family] = _family(records, samples)
        print(f"{family}: {_line(rows[family])}", flush=True)
        for level, row in rows[family]["levels"].items():
            print(f"  level {level}: {_line(row)}", flush=True)
    return rows


def _family(records: Sequence[EvalRecord], samples: Sequence[Sample]) -> dict[str, Any]:
    levels = sorted({record.difficulty for record in records})
    of_level = {
        str(level): _cell([r for r in records if r.difficulty == level], samples)
        for level in levels
    }
    return _cell(records, samples) | {"levels": of_level}


def _cell(records: Sequence[EvalRecord], samples: Sequence[Sample]) -> dict[str, Any]:
    chains = check_chains(records, samples, check_chain)
    found = {row.metric: row.value for row in summarize(records, ks=KS, chains=chains)}
    drawn = [success_counts(record)[1] for record in records if record.mode == "sampled"]
    cell = Cell(
        greedy=found["accuracy_greedy"],
        sampled=found["pass_at_1"],
        pass_at_8=found["pass_at_8"],
        none=sum(right == 0 for right in drawn) / len(drawn),
        sound=found["chain_sound_sampled"],
        items=len(drawn),
    )
    figures = {
        "greedy": cell.greedy,
        "sampled": cell.sampled,
        "pass_at_8": cell.pass_at_8,
        "none_of_64": cell.none,
        "sound_sampled": cell.sound,
    }
    rounded = {name: round(value, 4) for name, value in figures.items()}
    return rounded | {"items": cell.items, "stratum": stratum(cell)}


def strata_of(rows: dict[str, Any]) -> dict[str, list[str]]:
    """Stratum -> families, and levels (``family@2``) of families that lie in none."""
    found: dict[str, list[str]] = {name: [] for name in WANTED}
    for family, row in rows.items():
        if row["stratum"] in found:
            found[row["stratum"]].append(family)
            continue
        for level, part in row["levels"].items():
            if part["stratum"] in found:
                found[part["stratum"]].append(f"{family}@{level}")
    return found


def _line(row: dict[str, Any]) -> str:
    return (
        f"greedy {row['greedy']:.3f} sampled {row['sampled']:.3f} pass@8 {row['pass_at_8']:.3f} "
        f"0 of 64 {row['none_of_64']:.3f} sound {row['sound_sampled']:.3f} {row['stratum']}"
    )


def table(known: dict[str, Any]) -> str:
    """All measured policies as Markdown; levels only where the family as a whole is mixed."""
    lines = [
        "| policy | family | level | greedy | sampled | pass@8 | 0 of 64 | sound chains, sampled "
        "| items | stratum |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, record in known.items():
        for family, row in record["families"].items():
            lines.append(_row(name, family, "all", row))
            if row["stratum"] not in WANTED:
                lines += [_row(name, family, k, part) for k, part in row["levels"].items()]
    return "\n".join(lines)


def _row(name: str, family: str, level: str, row: dict[str, Any]) -> str:
    figures = ("greedy", "sampled", "pass_at_8", "none_of_64", "sound_sampled")
    values = " | ".join(f"{row[figure]:.3f}" for figure in figures)
    return f"| {name} | {family} | {level} | {values} | {row['items']} | {row['stratum']} |"


def main(arguments: list[str] | None = None) -> int:
    """Measure, keep, rewrite the table; 1 if a stratum has no family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="the policy's folder")
    parser.add_argument("--task", choices=MINI_TASKS)
    parser.add_argument("--families", nargs="+", help="default: all study families")
    parser.add_argument("--items", type=int, default=200, help="items of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="what the record is called (default: the folder's name)")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--draw", action="store_true", help="rewrite the table only")
    args = parser.parse_args(arguments)
    known = read_json(args.out) or {}
    missing: list[str] = []
    if not args.draw:
        if args.folder is None or args.task is None:
            parser.error("name a policy's folder and --task, or give --draw")
        every = MINI_TASKS[args.task].families.values()
        families = args.families or [f.name for f in every if f.status in ("study", "ground")]
        rows = measure(args.folder, args.task, families, args.items, args.seed)
        known[args.name or args.folder.name] = {
            "command": " ".join(["python -m perf.strata", *(arguments or sys.argv[1:])]),
            "benchmark": f"mini/{args.task} version {MINI_VERSION}",
            "split": "validation",
            "seed": args.seed,
            "samples": SAMPLES,
            "policy": folder_digest(args.folder),
            "families": rows,
            "strata": strata_of(rows),
        }
        write_text(args.out, json.dumps(known, indent=1) + "\n")
        print(json.dumps(strata_of(rows)))
        missing = [name for name in WANTED if not strata_of(rows)[name]]
    if args.out == OUT:
        page = DOC.read_text(encoding="utf-8")
        write_text(DOC, put_between(page, BEGIN, END, table(known)))
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
