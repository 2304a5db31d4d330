"""The frozen state of the built-in benchmark and of the shipped warm starts.

    python -m ekipl_lab.benchmarks.mini.freeze                              # does it still hold?
    python -m ekipl_lab.benchmarks.mini.freeze --version 1.2 --reason "..."   # a new version

``assets/frozen.json`` lists every version with its date, its reason and its digests; the last one
counts. A benchmark's digest covers samples of every split and family: question, answer, scene,
pixels, and reference chains in every style, right and wrong. A policy's covers every file that is
loaded. Results of different versions are not comparable, so that a change needs a reason.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, FAULTS, write_chain
from ekipl_lab.benchmarks.mini.task import MINI_VERSION, SampleKey
from ekipl_lab.benchmarks.seeding import SPLITS
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import SUMS, write_text

FROZEN = Path("assets/frozen.json")
POLICIES = Path("assets/policies")
#: Samples of each split and family that enter the digest.
PER_FAMILY = 12


@dataclass(frozen=True, slots=True)
class Version:
    """One frozen state: ``benchmark`` task -> digest, ``policies`` folder name -> digest."""

    version: str
    date: str
    reason: str
    benchmark: dict[str, str]
    policies: dict[str, str]


def benchmark_digest(task: str) -> str:
    """64 hexadecimal digits of what a task's samples are."""
    digest, mini = hashlib.sha256(), MINI_TASKS[task]
    for split, family, index in product(SPLITS, mini.families, range(PER_FAMILY)):
        sample = mini.build(SampleKey(task, split, 0, family, index), mini.image_size)
        fields = (sample.id, sample.question, sample.answer, sample.answer_type, sample.choices)
        digest.update(repr((*fields, sample.difficulty, sample.metadata["scene_hash"])).encode())
        for image in sample.images:
            digest.update(image.tobytes())
        for style, fault in product(CHAIN_STYLES, FAULTS):
            rng = random.Random(f"{sample.id}/{style}/{fault}")
            digest.update(write_chain(sample, style=style, fault=fault, rng=rng).encode())
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """64 hexadecimal digits of a policy's files, names included; not of its card and its sums."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name not in ("README.md", SUMS):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def measure(version: str, date: str, reason: str, policies: Path = POLICIES) -> Version:
    """The state as it is now."""
    return Version(
        version,
        date,
        reason,
        {task: benchmark_digest(task) for task in MINI_TASKS},
        {folder.name: folder_digest(folder) for folder in sorted(policies.iterdir())},
    )


def read(path: Path = FROZEN) -> list[Version]:
    """All versions, oldest first. Raises DataError for a file that is missing or unreadable."""
    try:
        return [Version(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path.as_posix()} cannot be read ({error}); restore it from the repository."
        ) from error


def differences(frozen: Version, now: Version) -> list[str]:
    """What is not as it was frozen, one sentence each; empty if all is."""
    found = []
    for kind, old, new in (
        ("benchmark mini", frozen.benchmark, now.benchmark),
        ("policy", frozen.policies, now.policies),
    ):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                what = "is new" if name not in old else "is gone" if name not in new else "changed"
                found.append(f"{kind}/{name} {what} since version {frozen.version}.")
    return found


def write(entry: Version, path: Path = FROZEN) -> None:
    """Append a version, atomically; ConfigError if it is not newer or gives no reason."""
    entries = read(path) if path.exists() else []
    if not entry.reason.strip():
        raise ConfigError("A new version needs a reason; give one with --reason.")
    if any(entry.version == old.version for old in entries):
        raise ConfigError(f"Version {entry.version} is frozen already; name a new one.")
    if entry.version.split(".")[0] != MINI_VERSION:
        raise ConfigError(
            f"Version {entry.version} does not begin with the benchmark's own, {MINI_VERSION}."
        )
    write_text(path, json.dumps([asdict(one) for one in [*entries, entry]], indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 if something is not as it was frozen."""
    parser = argparse.ArgumentParser(description="Check or renew the frozen benchmark.")
    parser.add_argument("--version", help="freeze the present state under this version")
    parser.add_argument("--reason", default="", help="why the frozen state had to change")
    options = parser.parse_args(arguments)
    today = datetime.date.today().isoformat()
    if options.version:
        write(measure(options.version, today, options.reason))
        print(f"Frozen as version {options.version}.")
        return 0
    frozen = read()[-1]
    found = differences(frozen, measure(frozen.version, today, ""))
    print("\n".join(found) or f"Everything is as frozen in version {frozen.version}.")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
