"""``ekipl data check PATH``: is a data set whole, and can every record of it be trained on?"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.image_files import MAX_PIXELS, ImageFiles, with_pixels
from ekipl_lab.benchmarks.reason_rft import check_folder, check_lines
from ekipl_lab.benchmarks.user_data import is_own, read_description
from ekipl_lab.errors import EKIPLError, missing_path
from ekipl_lab.evaluation.cache import sample_digest
from ekipl_lab.evaluation.contamination import MOST, contamination
from ekipl_lab.images import IMAGE_MARK, single_colour
from ekipl_lab.rewards import check_ground_truth
from ekipl_lab.teachers.adapters.replay import chain_fault
from ekipl_lab.types import Sample

if TYPE_CHECKING:
    from ekipl_lab.policies.load import Policy

#: What other data sets write where a picture belongs.
_OTHER_MARK = re.compile(
    r"<\|?(?:image|img|picture)[ _-]?\d*\|?>|\[image[ _-]?\d*\]", re.IGNORECASE
)
#: Seconds between two lines of progress, and how many ids or pairs are named.
EVERY_SECONDS, NAMED = 5.0, 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """The data, and what would be trained on them."""
    parser.add_argument("path", help="folder or YAML file")
    parser.add_argument(
        "--policy", help="checkpoint whose processor reads every record (default: a tiny policy's)"
    )
    parser.add_argument("--min-pixels", type=int, help="as policy.min_pixels of a run")
    parser.add_argument("--max-pixels", type=int, help="as policy.max_pixels of a run")


def run(args: argparse.Namespace) -> int:
    """Print what is found; 0 if the data are sound, 1 if not. ConfigError for a wrong path."""
    if not Path(args.path).exists():
        raise missing_path("Data", args.path, "give a folder of Reason-RFT-CoT or a YAML file.")
    if is_own(args.path):
        read_description(args.path)  # its faults are said before a processor is loaded
    look = Inspection(_reader(args.policy), args.min_pixels, args.max_pixels)
    most = args.max_pixels or MAX_PIXELS
    print(f"images are read at {most:,} pixels at most (policy.max_pixels)")
    return _check_own(args.path, look) if is_own(args.path) else _check_published(args.path, look)


def _reader(path: str | None) -> Policy:
    """A policy without weights: the processor of a checkpoint, or a tiny policy's.

    The tiny policy's refuses the ratios of sides that Qwen2-VL's refuses: above 200.
    """
    from ekipl_lab.policies.load import as_policy, load_processor
    from ekipl_lab.policies.processor import build_processor

    return as_policy(None, build_processor(56, 14) if path is None else load_processor(path))


@dataclass
class Inspection:
    """Looks at samples as training does, and counts what there is to say about their images."""

    reader: Policy
    min_pixels: int | None = None
    max_pixels: int | None = None
    remarks: dict[str, list[str]] = field(default_factory=dict)
    prompt: str = ""
    longest: tuple[int, str] = (0, "")
    seen: int = 0
    said: float = field(default_factory=time.monotonic)

    def __call__(self, sample: Sample) -> Sample:
        """The sample with its images opened; EKIPLError if training would end at it."""
        from ekipl_lab.policies.context import (
            check_words,
            encoded_length,
            finished_prompt,
            special_tokens,
        )

        self._progress()
        check_ground_truth(sample)
        check_words(sample, special_tokens(self.reader))
        opened = self._open(with_pixels(sample, self.min_pixels, self.max_pixels))
        length = encoded_length(self.reader, opened)
        self.longest = max(self.longest, (length, sample.id))
        if IMAGE_MARK in sample.question:
            self._remark(f"stand where the question says {IMAGE_MARK}", sample)
        elif other := _OTHER_MARK.search(sample.question):
            self._remark(f"before the text: {other[0]} is not {IMAGE_MARK} and stays words", sample)
        self.prompt = self.prompt or f"{sample.id}:\n{finished_prompt(self.reader, opened)}"
        return opened

    def _open(self, sample: Sample) -> Sample:
        files, images = sample.images, []
        assert isinstance(files, ImageFiles)
        for picture in map(files.picture, range(len(files))):
            images.append(picture.image)
            for note in picture.notes:
                self._remark(note, sample)
            if single_colour(picture.image):
                self._remark("of a single colour", sample)
        return replace(sample, images=tuple(images))

    def _remark(self, note: str, sample: Sample) -> None:
        kind = "the first of several frames" if "frames" in note else note.split(" from ")[0]
        self.remarks.setdefault(kind, []).append(f"{sample.id}: {note}")

    def _progress(self) -> None:
        self.seen += 1
        if time.monotonic() - self.said > EVERY_SECONDS:
            self.said = time.monotonic()
            print(f"{self.seen:,} records looked at", file=sys.stderr, flush=True)

    def lines(self) -> list[str]:
        """What is said at the end: images that were changed, the longest prompt, one prompt."""
        lines = []
        for kind, found in sorted(self.remarks.items()):
            lines.append(f"images {kind}: {len(found)}")
            lines += [f"  {one}" for one in found[:NAMED]]
        if self.prompt:
            lines.append(f"longest prompt: {self.longest[0]} tokens ({self.longest[1]})")
            lines.append(f"one finished prompt, {self.prompt}")
        return lines


def _check_published(folder: str, look: Inspection) -> int:
    report = check_folder(folder, lambda path, count: print(f"read {path}: {count}"), look)
    print("\n".join([*check_lines(report), *look.lines()]))
    return 0 if report.sound else 1


def _check_own(path: str, look: Inspection) -> int:
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
        found, doubled = _check_samples(split, samples, look)
        broken += found + doubled
        if not found:
            loaded[split] = samples
    train = loaded.get("train", [])
    broken += sum(_overlap(train, name, loaded[name]) for name in loaded if name != "train")
    print("\n".join(look.lines()))
    print("sound" if broken == 0 else f"{broken} problem{'s' * (broken > 1)}")
    return 0 if broken == 0 else 1


def _check_samples(split: str, samples: Sequence[Sample], look: Inspection) -> tuple[int, int]:
    """Print what a split holds, and each sample that is broken: how many, and how many problems
    the split has as a whole."""
    shapes, broken = set[tuple[int, int]](), 0
    equal: dict[str, list[Sample]] = {}
    for sample in samples:
        try:
            opened = look(sample)
        except EKIPLError as error:
            print(f"{split}: {sample.id}: {error}")
            broken += 1
            continue
        shapes.update(image.size for image in opened.images)
        equal.setdefault(sample_digest(opened), []).append(sample)
    answers = Counter(sample.answer for sample in samples)
    common, count = answers.most_common(1)[0]
    print(
        f"{split}: {len(samples)} records, {len(shapes)} image sizes, {len(answers)} different "
        f"answers, the most frequent {common!r} {count} times"
    )
    doubled = _doubled(split, [same for same in equal.values() if len(same) > 1])
    whole = [sample for same in equal.values() for sample in same]
    return broken, doubled + _chains(split, whole)


def _chains(split: str, samples: Sequence[Sample]) -> int:
    """Print chains that are no completion, or lead to another answer; 1 if there are any."""
    told = [s for s in samples if s.cot and s.cot.strip()]
    faults = [f"{sample.id}: {fault}" for sample in told if (fault := chain_fault(sample))]
    if faults:
        print(f"{split}: {len(faults)} of {len(told)} chains cannot be learned")
        print("\n".join(f"  {fault}" for fault in faults[:NAMED]))
    return int(bool(faults))


def _doubled(split: str, groups: Sequence[Sequence[Sample]]) -> int:
    """Print records with the images and question of an earlier one; 1 if there are any."""
    doubled = sum(len(same) - 1 for same in groups)
    if doubled:
        print(
            f"{split}: {doubled} records have the images and question of an earlier one, and count "
            "twice where they are trained or measured on"
        )
    contrary = [same for same in groups if len({sample.answer for sample in same}) > 1]
    if contrary:
        print(f"{split}: {len(contrary)} of these questions have contradicting answers")
    for same in sorted(groups, key=lambda same: same not in contrary)[:NAMED]:
        print("  " + ", ".join(f"{sample.id} ({sample.answer!r})" for sample in same))
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
            f"have their images there, {found.near} a nearly equal image (common among "
            "drawings; look at some)"
        )
    return int(found.items > 0)
