"""``ekipl data check PATH``: is a data set whole, and can every answer of it be scored?"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.reason_rft import check_folder, check_lines
from ekipl_lab.benchmarks.user_data import is_own, read_description
from ekipl_lab.errors import EKIPLError, missing_path
from ekipl_lab.evaluation.cache import sample_digest
from ekipl_lab.evaluation.contamination import MOST, contamination
from ekipl_lab.rewards import check_ground_truth
from ekipl_lab.types import Sample


def add_options(parser: argparse.ArgumentParser) -> None:
    """The data."""
    parser.add_argument("path", help="folder or YAML file")


def run(args: argparse.Namespace) -> int:
    """Print what is found; 0 if the data are sound, 1 if not. ConfigError for a wrong path."""
    if not Path(args.path).exists():
        raise missing_path("Data", args.path, "give a folder of Reason-RFT-CoT or a YAML file.")
    return _check_own(args.path) if is_own(args.path) else _check_published(args.path)


def _check_published(folder: str) -> int:
    report = check_folder(folder, lambda path, count: print(f"read {path}: {count}"))
    print("\n".join(check_lines(report)))
    return 0 if report.sound else 1


def _check_own(path: str) -> int:
    """Every split: its records, every image opened, every ground truth scored, every overlap."""
    data = read_description(path)
    broken, loaded = 0, dict[str, list[Sample]]()
    for split in data.splits:
        try:
            samples = load_samples(path, task=data.task, split=split)
        except EKIPLError as error:
            print(f"{split}: {error}")
            broken += 1
            continue
        found = _check_samples(split, samples)
        broken += found
        if not found:
            loaded[split] = samples
    broken += sum(_doubled(split, samples) for split, samples in loaded.items())
    train = loaded.get("train", [])
    broken += sum(_overlap(train, name, loaded[name]) for name in loaded if name != "train")
    print("sound" if broken == 0 else f"{broken} problems")
    return 0 if broken == 0 else 1


def _check_samples(split: str, samples: Sequence[Sample]) -> int:
    """Print what a split holds, and each sample that is broken; how many are."""
    shapes, broken = set[tuple[int, int]](), 0
    for sample in samples:
        try:
            check_ground_truth(sample)
            shapes.update(image.size for image in sample.images)
        except EKIPLError as error:
            print(f"{split}: {sample.id}: {error}")
            broken += 1
    answers = Counter(sample.answer for sample in samples)
    common, count = answers.most_common(1)[0]
    print(
        f"{split}: {len(samples)} records, {len(shapes)} image sizes, {len(answers)} different "
        f"answers, the most frequent {common!r} {count} times"
    )
    return broken


def _doubled(split: str, samples: Sequence[Sample]) -> int:
    """Print records with the pictures and question of an earlier one; 1 if there are any."""
    counts = Counter(sample_digest(sample) for sample in samples)
    doubled = sum(count - 1 for count in counts.values())
    if doubled:
        print(f"{split}: {doubled} records have the images and question of an earlier one")
    return int(doubled > 0)


def _overlap(train: Sequence[Sample], split: str, samples: Sequence[Sample]) -> int:
    """Print what a split shares with train; 1 if whole records, 0 if only images."""
    found = contamination(train, samples)
    if found is None:
        print(f"{split}: not compared with train, more than {MOST:,} records")
        return 0
    if found.items or found.images or found.near:
        print(
            f"{split}: of {found.test} records {found.items} are in train whole, {found.images} "
            f"have their images there, {found.near} a nearly equal image (a lead to look at)"
        )
    return int(found.items > 0)
