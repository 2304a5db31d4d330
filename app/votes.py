"""Votes on pairs of chains: one JSON line each, in ``judge/votes.jsonl`` beside the store.

A vote is appended under a lock and on disk before the page says so; a line that a killed process
left half-written is cut off by the next vote.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.secrets import refuse_secrets
from ekipl_lab.statistics import Interval, clustered_mean, cohen_kappa

#: What a rater can say of a pair; ``a`` and ``b`` are the sources, not the sides of the page.
CHOICES = ("a", "b", "tie", "both_wrong")
#: What can be wrong with a chain -> in words.
TAGS = {"saw": "saw wrong", "reasoned": "reasoned wrong", "format": "wrong format"}
#: Longest text of a rater, and longest name.
MAX_TEXT, MAX_NAME = 2_000, 60


@dataclass(frozen=True, slots=True)
class Vote:
    """One rater's word on two chains of one sample; ``source_a`` is ``run/set/step``.

    ``tags_a`` and ``tags_b`` are errors seen in each chain; ``corrected`` is a chain as it should
    be, empty where the rater wrote none; ``prompt`` is the text of the user turn.
    """

    rater: str
    sample_id: str
    source_a: str
    source_b: str
    chain_a: str
    chain_b: str
    prompt: str
    choice: str
    reason: str = ""
    tags_a: tuple[str, ...] = ()
    tags_b: tuple[str, ...] = ()
    corrected: str = ""
    time: float = 0.0
    id: str = ""

    @property
    def pair(self) -> tuple[str, str, str]:
        """What was voted on, the same for every rater and in both orders of the sources."""
        first, second = sorted((self.source_a, self.source_b))
        return self.sample_id, first, second

    def in_order(self) -> Vote:
        """The vote as it is with the sources in the order of ``pair``."""
        if self.source_a <= self.source_b:
            return self
        return replace(
            self,
            source_a=self.source_b, source_b=self.source_a,
            chain_a=self.chain_b, chain_b=self.chain_a,
            tags_a=self.tags_b, tags_b=self.tags_a,
            choice={"a": "b", "b": "a"}.get(self.choice, self.choice),
        )  # fmt: skip


_VOTE = TypeAdapter(Vote)


def votes_file() -> Path:
    """Where the votes of the store in use are kept."""
    return tracking.store_folder() / "judge" / "votes.jsonl"


def cast(vote: Vote, path: Path | None = None) -> Vote:
    """Keep a vote; returns it with its time and id.

    Raises ConfigError for a vote that cannot be, or a secret in its text.
    """
    _check(vote)
    values = asdict(vote) | {"time": time.time(), "id": uuid.uuid4().hex}
    line = json.dumps(values, ensure_ascii=False)
    refuse_secrets("a vote", line)
    path = path or votes_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")), path.open("a+b") as stream:
        _drop_torn_line(stream)
        stream.write(line.encode("utf-8", "replace") + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    return _VOTE.validate_python(values)


def read(path: Path | None = None) -> list[Vote]:
    """Every vote in order; of a rater's votes on one pair the last stands.

    Raises DataError for a damaged line.
    """
    path = path or votes_file()
    if not path.is_file():
        return []
    found: dict[tuple[str, ...], Vote] = {}
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line end is torn
        try:
            _check(vote := _VOTE.validate_json(line))
        except (ValueError, ConfigError) as error:
            raise DataError(f"Line {number} of the votes is damaged; fix or remove it.") from error
        found.pop(key := (vote.rater, *vote.pair), None)
        found[key] = vote
    return list(found.values())


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often ``first`` was better than ``second``; a tie is half. Clustered by sample."""

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    rate: Interval


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two raters on the pairs that both saw: share of equal choices, and Cohen's kappa.

    ``kappa`` is None where chance alone would agree always.
    """

    first: str
    second: str
    pairs: int
    equal: float
    kappa: float | None


def win_rates(votes: Iterable[Vote]) -> list[WinRate]:
    """For every two sources that were compared; both orders of a pair are one comparison."""
    values: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for vote in votes:
        first, second = sorted((vote.source_a, vote.source_b))
        value = {"a": 1.0, "b": 0.0}.get(vote.choice, 0.5)
        value = value if first == vote.source_a else 1.0 - value
        values.setdefault((first, second), []).append((vote.sample_id, value))
    return [
        WinRate(
            *pair,
            sum(v == 1.0 for _, v in found),
            sum(v == 0.0 for _, v in found),
            sum(v == 0.5 for _, v in found),
            clustered_mean([v for _, v in found], [sample for sample, _ in found]),
        )
        for pair, found in sorted(values.items())
    ]


def agreement(votes: Iterable[Vote]) -> list[Agreement]:
    """Every two raters with pairs in common."""
    by_rater: dict[str, dict[tuple[str, ...], str]] = {}
    for vote in votes:
        by_rater.setdefault(vote.rater, {})[vote.pair] = vote.in_order().choice
    found = []
    for first, second in combinations(sorted(by_rater), 2):
        shared = sorted(by_rater[first].keys() & by_rater[second].keys())
        if not shared:
            continue
        ours = [by_rater[first][pair] for pair in shared]
        theirs = [by_rater[second][pair] for pair in shared]
        equal = sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(shared)
        found.append(Agreement(first, second, len(shared), equal, cohen_kappa(ours, theirs)))
    return found


def error_tags(votes: Iterable[Vote]) -> dict[str, dict[str, int]]:
    """Source -> tag -> how many chains of it were marked so."""
    counts: dict[str, dict[str, int]] = {}
    for vote in votes:
        for source, tags in ((vote.source_a, vote.tags_a), (vote.source_b, vote.tags_b)):
            own = counts.setdefault(source, dict.fromkeys(TAGS, 0))
            for tag in tags:
                own[tag] += 1
    return counts


def _check(vote: Vote) -> None:
    if not vote.rater.strip() or len(vote.rater) > MAX_NAME or not vote.rater.isprintable():
        raise ConfigError(f"Write who votes: a name of 1 to {MAX_NAME} printable characters.")
    if vote.choice not in CHOICES:
        raise ConfigError(f"A vote is one of {', '.join(CHOICES)}; not {vote.choice[:40]!r}.")
    if unknown := {*vote.tags_a, *vote.tags_b} - set(TAGS):
        raise ConfigError(f"An error tag is one of {', '.join(TAGS)}; not {sorted(unknown)[0]!r}.")
    if max(len(vote.reason), len(vote.corrected)) > MAX_TEXT:
        raise ConfigError(f"A reason or a corrected chain has at most {MAX_TEXT} characters.")
    if vote.source_a == vote.source_b:
        raise ConfigError("A pair has two different sources; choose another one for B.")


def _drop_torn_line(stream: Any) -> None:
    """Cut what follows the last line end: a vote that was never said to be kept."""
    end = stream.seek(0, os.SEEK_END)
    if end == 0:
        return
    stream.seek(end - 1)
    if stream.read(1) == b"\n":
        return
    stream.seek(0)
    stream.truncate(stream.read().rfind(b"\n") + 1)
    stream.seek(0, os.SEEK_END)


def by_pair(votes: Iterable[Vote]) -> dict[tuple[str, str, str], Sequence[Vote]]:
    """Votes on each pair, each with its sources in the pair's order."""
    found: dict[tuple[str, str, str], list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.pair, []).append(vote.in_order())
    return dict(found)
