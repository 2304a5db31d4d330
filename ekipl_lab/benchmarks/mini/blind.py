"""How far blind solvers get, per family: ``python -m ekipl_lab.benchmarks.mini.blind``.

Writes ``results/blind.json`` and the table between the markers in ``docs/benchmark.md``; with
``--families`` it prints those and writes nothing. Solvers
are fitted on the training split and measured on test and test_ood. A family that studies may use
(status ``study`` or ``ground``) must stay at or under 15 % with the best of them.

``shuffle_images`` and ``without_images`` are the same control for a trained policy or a teacher:
evaluate it on what they return.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.solvers import SOLVERS
from ekipl_lab.benchmarks.mini.task import MINI_VERSION, SampleKey
from ekipl_lab.benchmarks.seeding import rng_for
from ekipl_lab.errors import DataError, unknown_name
from ekipl_lab.files import put_between, write_text
from ekipl_lab.images import IMAGE_MARK, pixel_parts
from ekipl_lab.types import Sample

#: The most that the best blind solver may reach on a family that studies use.
BLIND_LIMIT = 0.15
BEGIN, END = "<!-- blind table: begin -->", "<!-- blind table: end -->"


def without_images(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without their images: the question-only control."""
    return [
        replace(sample, images=(), question=sample.question.replace(IMAGE_MARK, ""))
        for sample in samples
    ]


def shuffle_images(samples: Sequence[Sample], seed: int = 0) -> list[Sample]:
    """The samples with the images of another sample of the same family, as many as they had: a
    cyclic shift of a seeded order in which equal images are neighbours, by the most that are equal,
    so that none keeps its own. DataError where a family has too few other images for that.
    """
    found: list[Sample] = list(samples)
    for family, count in sorted({(sample.family, len(sample.images)) for sample in samples}):
        places = [
            place
            for place, sample in enumerate(samples)
            if (sample.family, len(sample.images)) == (family, count)
        ]
        if len(places) < 2:
            raise DataError(
                f"Family {family!r} has one sample with as many images as {samples[places[0]].id}; "
                "shuffling needs at least two."
            )
        rng_for("shuffle_images", family, seed).shuffle(places)
        alike: dict[str, list[int]] = {}
        for place in places:
            alike.setdefault(_digest(samples[place]), []).append(place)
        most = max(map(len, alike.values()))
        if 2 * most > len(places):
            raise DataError(
                f"{most} of {len(places)} samples of family {family!r} have the same image, such "
                f"as {samples[places[0]].id}; shuffling needs another one for each."
            )
        places = list(chain.from_iterable(alike.values()))
        for place, other in zip(places, places[most:] + places[:most], strict=True):
            found[place] = replace(samples[place], images=samples[other].images)
    return found


def _digest(sample: Sample) -> str:
    return hashlib.sha256(b"".join(pixel_parts(sample.images))).hexdigest()


def measure(task: str, family: str, split: str, fit: Sequence[Sample], test: int) -> dict[str, Any]:
    """Accuracy of every solver, fitted on ``fit``, on ``test`` samples of a family and split."""
    asked = draw(task, family, split, test)
    scores = {name: float(solve(fit, asked).mean()) for name, solve in SOLVERS.items()}
    best = max(scores, key=lambda name: scores[name])
    return {
        "task": task,
        "family": family,
        "status": MINI_TASKS[task].families[family].status,
        "split": split,
        "scores": {name: round(score, 4) for name, score in scores.items()},
        "best": best,
        "best_score": round(scores[best], 4),
    }


def draw(task: str, family: str, split: str, count: int) -> list[Sample]:
    """The first ``count`` samples of a family, at 56 pixels."""
    keys = [SampleKey(task, split, 0, family, index) for index in range(count)]
    return [MINI_TASKS[task].build(key, 56) for key in keys]


def measure_all(
    train: int, test: int, *, study: bool = False, only: Sequence[str] = ()
) -> dict[str, Any]:
    """The record of every family that has images (``study``: of those alone that studies use;
    ``only``: of those alone that it names)."""
    rows: list[dict[str, Any]] = []
    known = [
        name for mini in MINI_TASKS.values() for name, one in mini.families.items() if one.images
    ]
    for name in only:
        if name not in known:
            raise unknown_name("family with images", name, known)
    for task, mini in MINI_TASKS.items():
        for name, family in mini.families.items():
            wanted = name in only if only else family.status == "study" or not study
            if family.images and wanted:
                fit = draw(task, name, "train", train)
                rows += [measure(task, name, split, fit, test) for split in ("test", "test_ood")]
    return {
        "benchmark": "mini",
        "version": MINI_VERSION,
        "train_samples": train,
        "test_samples": test,
        "limit": BLIND_LIMIT,
        "rows": rows,
    }


def table(record: dict[str, Any]) -> str:
    """The best solver of every family as a Markdown table, accuracies in percent."""
    lines = [
        f"Fitted on {record['train_samples']} training samples a family, measured on "
        f"{record['test_samples']} of each split; accuracy of the best solver in percent.",
        "",
        "| task | family | status | test | test_ood |",
        "|---|---|---|---|---|",
    ]
    rows = {(row["task"], row["family"], row["split"]): row for row in record["rows"]}
    for (task, family, split), row in rows.items():
        if split == "test":
            best = [
                f"{100 * one['best_score']:.1f} ({one['best'].replace('_', ' ')})"
                for one in (row, rows[task, family, "test_ood"])
            ]
            lines.append("| " + " | ".join([task, family, row["status"], *best]) + " |")
    return "\n".join(lines)


def with_table(page: str, record: dict[str, Any]) -> str:
    """The page with the table between its markers replaced."""
    return put_between(page, BEGIN, END, table(record))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the record and the table, and names families over the limit."""
    parser = argparse.ArgumentParser(description="Blind solvers on the built-in benchmark.")
    parser.add_argument("--train", type=int, default=3000, help="training samples a family")
    parser.add_argument("--test", type=int, default=1000, help="test samples a family and split")
    parser.add_argument("--study", action="store_true", help="only families that studies use")
    parser.add_argument(
        "--families", nargs="+", default=[], metavar="NAME", help="only these; nothing is written"
    )
    parser.add_argument("--record", type=Path, default=Path("results/blind.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/benchmark.md"))
    chosen = parser.parse_args(arguments)
    record = measure_all(chosen.train, chosen.test, study=chosen.study, only=chosen.families)
    if not chosen.families:
        write_text(chosen.record, json.dumps(record, indent=1) + "\n")
    if not chosen.families and chosen.page.is_file():
        write_text(chosen.page, with_table(chosen.page.read_text(encoding="utf-8"), record))
    print(table(record))
    for row in record["rows"]:
        if row["status"] in ("study", "ground") and row["best_score"] > BLIND_LIMIT:
            print(f"over the limit: {row['task']} {row['family']} {row['split']} {row['best']}")


if __name__ == "__main__":
    main()
