"""``ekipl data check PATH``: is a data set whole, and can every answer of it be scored?"""

from __future__ import annotations

from collections import Counter

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.own import is_own, read_description
from ekipl_lab.benchmarks.reason_rft import check_folder, check_lines
from ekipl_lab.errors import EKIPLError
from ekipl_lab.rewards import check_ground_truth


def check_data(path: str) -> int:
    """Print what is found; 0 if the data are sound, 1 if not. ConfigError for a wrong path."""
    return _check_own(path) if is_own(path) else _check_published(path)


def _check_published(folder: str) -> int:
    report = check_folder(folder, lambda path, count: print(f"read {path}: {count}"))
    print("\n".join(check_lines(report)))
    return 0 if report.sound else 1


def _check_own(path: str) -> int:
    """Every split: its records, every image opened, every ground truth scored."""
    data = read_description(path)
    broken = 0
    for split in data.splits:
        try:
            samples = load_samples(path, task=data.task, split=split)
        except EKIPLError as error:
            print(f"{split}: {error}")
            broken += 1
            continue
        shapes: set[tuple[int, int]] = set()
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
    print("sound" if broken == 0 else f"{broken} problems")
    return 0 if broken == 0 else 1
