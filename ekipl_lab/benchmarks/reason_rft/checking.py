"""``data check``: counts, answer types, broken records, duplicates, train/test overlap.

Overlap is looked for by image: the same pixels (SHA-256), and nearly the same ones (difference hash
of 256 bits, at most NEAR_BITS apart), and by image and question together. Nearly equal images are
leads to look at, not findings: rendered scenes share their background.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ekipl_lab.benchmarks.reason_rft.layout import FILES, DataFile
from ekipl_lab.benchmarks.reason_rft.loading import to_sample, unpack_images
from ekipl_lab.benchmarks.reason_rft.reading import Problem, Record, scan_records
from ekipl_lab.errors import ConfigError, EKIPLError
from ekipl_lab.types import Sample

NEAR_BITS = 6

Progress = Callable[[str, int], None]
#: Looks at a sample as training would: the sample with its images opened, or an error.
Inspect = Callable[[Sample], Sample]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What is in one file; ``published`` is how many records it should have.

    ``duplicates`` are pairs of ids, ``contrary`` those of them whose answers differ.
    """

    file: DataFile
    records: int
    answer_types: dict[str, int]
    difficulties: dict[int, int]
    duplicates: tuple[tuple[str, str], ...]
    contrary: frozenset[tuple[str, str]]

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


@dataclass(frozen=True, slots=True)
class _Print:
    """A record with the exact hash and the near hash of each of its images."""

    record: Record
    exact: tuple[str, ...]
    near: tuple[NDArray[np.uint64], ...]

    @property
    def item(self) -> tuple[tuple[str, ...], str]:
        """What makes two records the same: images and question."""
        return self.exact, self.record.problem


def opened(sample: Sample) -> Sample:
    """The sample with its images in memory; DataError for what is none."""
    return replace(sample, images=tuple(sample.images))


def check_folder(
    folder: str | Path, progress: Progress | None = None, inspect: Inspect = opened
) -> CheckReport:
    """Read every file and every image of a data set's folder and report on it.

    Archives are unpacked as for loading. Files that are missing are problems; a folder with none
    of them is a ConfigError.
    """
    root = Path(folder)
    if not any((root / file.path).is_file() for file in FILES):
        raise ConfigError(
            f"{root} holds none of the files of Reason-RFT-CoT, such as {FILES[0].path}."
        )
    unpack_images(root)
    problems: list[Problem] = []
    prints: dict[DataFile, list[_Print]] = {}
    for file in FILES:
        found = [_print_of(item, inspect) for item in scan_records(root, file)]
        problems += [one for one in found if isinstance(one, Problem)]
        prints[file] = [one for one in found if isinstance(one, _Print)]
        if progress is not None:
            progress(file.path, len(prints[file]))
    overlaps = [o for f in FILES if f.split != "train" for o in _overlaps(f, prints)]
    reports = tuple(_report(file, found) for file, found in prints.items())
    return CheckReport(reports, tuple(problems), tuple(overlaps))


def _print_of(record: Record | Problem, inspect: Inspect) -> _Print | Problem:
    """A record's fingerprints; a problem if an image cannot be decoded, or training not take it."""
    if isinstance(record, Problem):
        return record
    try:
        images = inspect(to_sample(record, record.file.split)).images
    except EKIPLError as error:
        reason = str(error).rstrip(".")
        return Problem(record.file.path, record.index, record.id, "image", reason)
    exact = (hashlib.sha256(f"{image.size}".encode() + image.tobytes()) for image in images)
    near = tuple(difference_hash(image) for image in images)
    return _Print(record, tuple(digest.hexdigest() for digest in exact), near)


def difference_hash(image: Image.Image) -> NDArray[np.uint64]:
    """256 bits (4 words): is each of 16 x 16 cells darker than its right neighbour?"""
    small = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BILINEAR), dtype=int)
    bits = small[:, :-1] < small[:, 1:]
    return np.packbits(bits).view(np.uint64)


def _report(file: DataFile, prints: Sequence[_Print]) -> FileReport:
    first: dict[tuple[tuple[str, ...], str], Record] = {}
    pairs: dict[tuple[str, str], bool] = {}
    for one in prints:
        known = first.setdefault(one.item, one.record)
        if known is not one.record:
            pairs[known.id, one.record.id] = known.answer != one.record.answer
    records = [one.record for one in prints]
    return FileReport(
        file=file,
        records=len(records),
        answer_types=dict(sorted(Counter(r.answer_type for r in records).items())),
        difficulties=dict(sorted(Counter(r.difficulty for r in records).items())),
        duplicates=tuple(pairs),
        contrary=frozenset(pair for pair, differs in pairs.items() if differs),
    )


def _overlaps(test: DataFile, prints: dict[DataFile, list[_Print]]) -> Iterable[Overlap]:
    """At most one overlap per test record, the strongest: whole item, exact image, near image."""
    train = next(f for f in FILES if f.task == test.task and f.split == "train")
    items = {one.item: one.record.id for one in prints[train]}
    by_image = {image: one.record.id for one in prints[train] for image in one.exact}
    near = [(row, one.record.id) for one in prints[train] for row in one.near]
    if not near:
        return
    table, owners = np.stack([row for row, _ in near]), [owner for _, owner in near]
    for one in prints[test]:
        shared = next((by_image[image] for image in one.exact if image in by_image), None)
        if one.item in items:
            kind, train_id = "whole item", items[one.item]
        elif shared is not None:
            kind, train_id = "exact image", shared
        elif (closest := _nearest(table, one.near)) is not None:
            kind, train_id = "near image", owners[closest]
        else:
            continue
        yield Overlap(kind, test.path, one.record.id, train_id)


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
        lines += [
            f"  the same item: {a} and {b}{', answers differ' if (a, b) in one.contrary else ''}"
            for a, b in one.duplicates[:most]
        ]
    lines.append(f"Broken records: {len(report.problems)}")
    lines += [f"  {problem}" for problem in report.problems[:most]]
    kinds = Counter((overlap.test_file, overlap.kind) for overlap in report.overlaps)
    lines.append(f"Test records whose image is in the training file: {len(report.overlaps)}")
    lines += [f"  {file}: {kind}: {count}" for (file, kind), count in sorted(kinds.items())]
    return lines
