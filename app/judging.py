"""Pairs of chains to vote on, taken from stored evaluations, and what is exported of the votes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from app import evaluations, runs, votes
from app.kept import remembered
from app.votes import Vote
from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError, EKIPLError
from ekipl_lab.evaluation import read_records
from ekipl_lab.prompts import instructed, prompt_text
from ekipl_lab.types import EvalRecord, Sample


@dataclass(frozen=True, slots=True)
class Pair:
    """Two chains of one sample; ``flipped`` shows B on the left."""

    sample_id: str
    source_a: str
    source_b: str
    chain_a: str
    chain_b: str
    flipped: bool

    @property
    def key(self) -> tuple[str, str, str]:
        """As `Vote.pair`."""
        first, second = sorted((self.source_a, self.source_b))
        return self.sample_id, first, second

    @property
    def sides(self) -> tuple[str, str]:
        """The chains as they stand on the page, left and right."""
        return (self.chain_b, self.chain_a) if self.flipped else (self.chain_a, self.chain_b)

    def choice(self, side: str) -> str:
        """What a vote for a side of the page means."""
        if side not in ("left", "right"):
            return side
        return "b" if (side == "left") == self.flipped else "a"


def stored(run: str) -> list[str]:
    """``set/step`` of every stored evaluation of a run, by set and step; empty for no run."""
    if not runs.is_known(run):
        return []
    names = remembered(("evals", run), lambda: tracking.list_artifacts(run, "evaluation"))
    paths = [PurePosixPath(name) for name in names]
    parts = [(p.parent.name, p.stem.removeprefix("step-")) for p in paths if p.suffix == ".parquet"]
    return [f"{name}/{int(step)}" for name, step in sorted(parts) if step.isdecimal()]


def label(of: str) -> str:
    """``set/step`` for people."""
    name, step = of.rsplit("/", 1)
    return f"{name}, step {step}" if int(step) else f"{name}, start (step 0)"


def records_of(source: str) -> dict[str, EvalRecord]:
    """Sample id -> the greedy record of ``run/set/step``; ConfigError for no such evaluation."""
    run, _, name = source.partition("/")
    runs.require_run(run)
    if name not in stored(run):
        raise ConfigError(f"Run {run!r} has no stored evaluation {name!r}; choose from the list.")
    where, step = name.rsplit("/", 1)

    def ask() -> dict[str, EvalRecord]:
        path = tracking.run_artifact(run, f"evaluation/{where}/step-{int(step):06d}.parquet")
        return {r.sample_id: r for r in read_records(path) if r.mode == "greedy"}

    return remembered(("records", source), ask, forever=True)


def pairs(source_a: str, source_b: str, rater: str) -> list[Pair]:
    """The samples on which two evaluations wrote different chains, in a mixed order.

    The order and which source stands left differ from rater to rater, and say nothing of either;
    each source stands left in half of the pairs, to within one.
    """
    ours, theirs = records_of(source_a), records_of(source_b)
    marks = [
        (_mark(rater, sample_id, source_a, source_b), sample_id)
        for sample_id in ours.keys() & theirs.keys()
        if _chain(ours[sample_id]) != _chain(theirs[sample_id])
    ]
    flipped = sorted(marks, key=lambda one: _mark("side", str(one[0])))[: len(marks) // 2]
    return [
        Pair(
            id_, source_a, source_b, _chain(ours[id_]), _chain(theirs[id_]), (mark, id_) in flipped
        )
        for mark, id_ in sorted(marks)
    ]


def _chain(record: EvalRecord) -> str:
    return record.actions[0].completion


def vote(
    source_a: str,
    source_b: str,
    rater: str,
    sample_id: str,
    side: str,
    reason: str = "",
    tags: tuple[Sequence[str], Sequence[str]] = ((), ()),
    corrected: str = "",
) -> Vote:
    """Keep a vote on one pair; ``side`` and ``tags`` are of the page, left and right.

    Raises ConfigError for no such pair or two different questions, or as `votes.cast`.
    """
    pair = next((p for p in pairs(source_a, source_b, rater) if p.sample_id == sample_id), None)
    if pair is None:
        raise ConfigError(f"The two evaluations have no pair of chains of sample {sample_id!r}.")
    asked = [sample_of(source, sample_id) for source in (source_a, source_b)]
    if len({(sample.question, sample.answer) for sample in asked}) > 1:
        raise ConfigError(f"The two evaluations asked different questions as {sample_id!r}.")
    left, right = (tuple(one) for one in tags)
    return votes.cast(
        Vote(
            rater, sample_id, source_a, source_b, pair.chain_a, pair.chain_b,
            prompt_of(source_a, asked[0]), pair.choice(side), reason,
            *((right, left) if pair.flipped else (left, right)), corrected,
        )
    )  # fmt: skip


def preferences(found: Iterable[Vote]) -> Iterator[dict[str, Any]]:
    """One row for each pair with a majority, in TRL's conversational form of DPO with images.

    Ties and pairs without a majority give no row. The pictures are added by `app.exports`;
    ``source`` is the evaluation that the sample is of.
    """
    for pair, cast in votes.by_pair(found).items():
        counts = Counter(vote.choice for vote in cast)
        if counts["a"] == counts["b"] or max(counts["a"], counts["b"]) * 2 <= len(cast):
            continue
        better, worse = cast[-1].chain_a, cast[-1].chain_b
        if counts["b"] > counts["a"]:
            better, worse = worse, better
        yield {
            **_asked(cast[-1]),
            "source": cast[-1].source_a,
            "chosen": _said(better),
            "rejected": _said(worse),
            "sample_id": pair[0],
            "votes": f"{max(counts['a'], counts['b'])} of {len(cast)}",
        }


def corrections(found: Iterable[Vote]) -> Iterator[dict[str, Any]]:
    """One row for each corrected chain, in TRL's conversational form of SFT with images."""
    for vote in found:
        if vote.corrected.strip():
            yield {
                **_asked(vote),
                "source": vote.source_a,
                "completion": _said(vote.corrected),
                "sample_id": vote.sample_id,
                "rater": vote.rater,
            }


def sample_of(source: str, sample_id: str) -> Sample:
    """The sample of an evaluation ``run/set/step`` with its images; DataError where they are not
    here."""
    return evaluations.sample_of(source.partition("/")[0], sample_id)


def prompt_of(source: str, sample: Sample) -> str:
    """The user turn as the run of an evaluation asked it."""
    data = runs.config_of(source.partition("/")[0]).get("data", {})
    return prompt_text(instructed(sample, bool(data.get("instructed", False))))


def _asked(vote: Vote) -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": vote.prompt}]}


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _mark(*parts: str) -> int:
    return int.from_bytes(
        hashlib.sha256("\x00".join(parts).encode("utf-8", "replace")).digest()[:8]
    )


def voted(rater: str) -> set[tuple[str, str, str]]:
    """The pairs that a rater has voted on; none while the votes cannot be read."""
    try:
        return {vote.pair for vote in votes.read() if vote.rater == rater}
    except EKIPLError:
        return set()
