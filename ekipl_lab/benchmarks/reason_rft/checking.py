"""``data check``: counts, answer types, broken records, duplicates, train/test overlap.

Overlap is looked for by image: the same pixels (SHA-256), and nearly the same ones (difference hash
of 256 bits, at most NEAR_BITS apart), and by image and question together. Nearly equal images are
leads to look at, not findings: rendered scenes share their background.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ekipl_lab.benchmarks.image_files import open_image
from ekipl_lab.benchmarks.reason_rft.layout import FILES, DataFile
from ekipl_lab.benchmarks.reason_rft.reading import Problem, Record, scan_records
from ekipl_lab.errors import ConfigError, DataError

NEAR_BITS = 6

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What is in one file; ``published`` is how many records it should have."""

    file: DataFile
    records: int
    answer_types: dict[str, int]
    difficulties: dict[int, int]
    duplicates: tuple[tuple[str, str], ...]

    @property
    def complete(self) -> bool:
        """Whether the file has as many records as were published."""
        return self.records == self.file.published


@dataclass(frozen=True, slots=True)
class Overlap:
    """A test record seen in training; ``kind``: whole item, exact image or near image."""

    kind: str
    test_file: str
    test_id: str
    train_id: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Everything found; ``problems`` are broken records, each named by file, record and field."""

    files: tuple[FileReport, ...]
    problems: tuple[Problem, ...]
    overlaps: tuple[Overlap, ...]

    @property
    def sound(self) -> bool:
        """No broken record, and no test image that training has seen, pixel by pixel."""
        return not self.problems and not any(o.kind != "near image" for o in self.overlaps)


@dataclass(slots=True)
class _Prints:
    """Fingerprints of a file's records: per record the exact hashes of its images, per image the
    near hash, and which record it belongs to."""

    records: list[Record] = field(default_factory=list)
    exact: list[tuple[str, ...]] = field(default_factory=list)
    near: list[NDArray[np.uint64]] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)


def check_folder(folder: str | Path, progress: Progress | None = None) -> CheckReport:
    """Read every file and every image of a data set's folder and report on it.

    Files that are missing are problems; a folder with none of them is a ConfigError.
    """
    root = Path(folder)
    if not any((root / file.path).is_file() for file in FILES):
        raise ConfigError(
            f"{root} holds none of the files of Reason-RFT-CoT, such as {FILES[0].path}."
        )
    reports: list[FileReport] = []
    problems: list[Problem] = []
    prints: dict[DataFile, _Prints] = {}
    for file in FILES:
        found = _Prints()
        for item in scan_records(root, file):
            problem = item if isinstance(item, Problem) else _take(found, item)
            if problem is not None:
                problems.append(problem)
        prints[file] = found
        reports.append(_report(file, found))
        if progress is not None:
            progress(file.path, len(found.records))
    overlaps = [o for f in FILES if f.split != "train" for o in _overlaps(f, prints)]
    return CheckReport(tuple(reports), tuple(problems), tuple(overlaps))


def _take(prints: _Prints, record: Record) -> Problem | None:
    """Add a record's fingerprints; a problem if an image cannot be decoded."""
    try:
        images = [open_image(path) for path in record.images]
    except DataError as error:
        reason = str(error).rstrip(".")
        return Problem(record.file.path, record.index, record.id, "image", reason)
    prints.owner += [len(prints.records)] * len(images)
    prints.records.append(record)
    prints.exact.append(tuple(_exact_hash(image) for image in images))
    prints.near += [difference_hash(image) for image in images]
    return None


def _exact_hash(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def difference_hash(image: Image.Image) -> NDArray[np.uint64]:
    """256 bits (4 words): is each of 16 x 16 cells darker than its right neighbour?"""
    small = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BILINEAR), dtype=int)
    bits = small[:, :-1] < small[:, 1:]
    return np.packbits(bits).view(np.uint64)


def _report(file: DataFile, prints: _Prints) -> FileReport:
    first: dict[tuple[tuple[str, ...], str], str] = {}
    duplicates = []
    for record, exact in zip(prints.records, prints.exact, strict=True):
        key = (exact, record.problem)
        if key in first:
            duplicates.append((first[key], record.id))
        first.setdefault(key, record.id)
    return FileReport(
        file=file,
        records=len(prints.records),
        answer_types=dict(sorted(Counter(r.answer_type for r in prints.records).items())),
        difficulties=dict(sorted(Counter(r.difficulty for r in prints.records).items())),
        duplicates=tuple(duplicates),
    )


def _overlaps(test: DataFile, prints: dict[DataFile, _Prints]) -> Iterable[Overlap]:
    """At most one overlap per test record, the strongest: whole item, exact image, near image."""
    train = next(f for f in FILES if f.task == test.task and f.split == "train")
    seen, asked = prints[train], prints[test]
    if not seen.records:
        return
    pairs = list(zip(seen.exact, seen.records, strict=True))
    items = {(exact, record.problem): record.id for exact, record in pairs}
    by_image = {image: record.id for exact, record in pairs for image in exact}
    table = np.stack(seen.near)
    near_of: dict[int, list[NDArray[np.uint64]]] = {}
    for owner, near in zip(asked.owner, asked.near, strict=True):
        near_of.setdefault(owner, []).append(near)
    for index, (exact, record) in enumerate(zip(asked.exact, asked.records, strict=True)):
        same = items.get((exact, record.problem))
        shared = next((by_image[image] for image in exact if image in by_image), None)
        if same is not None:
            yield Overlap("whole item", test.path, record.id, same)
        elif shared is not None:
            yield Overlap("exact image", test.path, record.id, shared)
        else:
            closest = _nearest(table, near_of[index])
            if closest is not None:
                train_id = seen.records[seen.owner[closest]].id
                yield Overlap("near image", test.path, record.id, train_id)


def _nearest(table: NDArray[np.uint64], prints: Iterable[NDArray[np.uint64]]) -> int | None:
    """The row of ``table`` within NEAR_BITS of any of the prints, None if there is none."""
    for near in prints:
        distances = np.bitwise_count(table ^ near).sum(axis=1)
        closest = int(distances.argmin())
        if distances[closest] <= NEAR_BITS:
            return closest
    return None


def check_lines(report: CheckReport, most: int = 20) -> list[str]:
    """The report as lines of text; at most so many problems and overlaps of each file in full."""
    lines = []
    for one in report.files:
        wanted = "" if one.complete else f" (published: {one.file.published})"
        types = ", ".join(f"{name} {count}" for name, count in one.answer_types.items())
        lines.append(f"{one.file.path}: {one.records} records{wanted}; {types or 'no answers'}")
        lines += [f"  the same item: {a} and {b}" for a, b in one.duplicates[:most]]
    lines.append(f"Broken records: {len(report.problems)}")
    lines += [f"  {problem}" for problem in report.problems[:most]]
    kinds = Counter((overlap.test_file, overlap.kind) for overlap in report.overlaps)
    lines.append(f"Test records whose image is in the training file: {len(report.overlaps)}")
    lines += [f"  {file}: {kind}: {count}" for (file, kind), count in sorted(kinds.items())]
    return lines
