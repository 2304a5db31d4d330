"""Are the reasoning steps true? Counted per action with a checker that is handed in.

``checker(sample, completion)``, such as ``ekipl_lab.benchmarks.mini.chains.check_chain``, reports
on one completion. The reward cannot see a wrong chain behind a right answer; this can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ekipl_lab.errors import DataError
from ekipl_lab.types import MISSING, EvalRecord, Sample


class ChainReport(Protocol):
    """A checker's report: the steps that hold in the scene, those that do not, and whether the
    chain is sound (every step is true and the answer follows)."""

    @property
    def true_steps(self) -> Sequence[str]: ...
    @property
    def false_steps(self) -> Sequence[str]: ...
    @property
    def sound(self) -> bool: ...


Checker = Callable[[Sample, str], ChainReport]


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """Counts of one completion's true and false steps, and whether the chain is sound."""

    true_steps: int
    false_steps: int
    sound: bool


#: Sample id, model id, mode.
ChainKey = tuple[str, str, str]
#: One ChainCheck for each action that was given, by record.
ChainChecks = Mapping[ChainKey, Sequence[ChainCheck]]


def check_chains(
    records: Iterable[EvalRecord], samples: Iterable[Sample], checker: Checker
) -> dict[ChainKey, tuple[ChainCheck, ...]]:
    """Every action that was given checked; DataError if a record's sample is not given."""
    return {
        chain_key(record): tuple(
            _check(checker(sample, action.completion))
            for action in record.actions
            if action.finish_reason != MISSING
        )
        for record, sample in with_samples(records, samples)
    }


def chain_key(record: EvalRecord) -> ChainKey:
    """What names a record among the checks."""
    return record.sample_id, record.model_id, record.mode


def with_samples(
    records: Iterable[EvalRecord], samples: Iterable[Sample]
) -> Iterator[tuple[EvalRecord, Sample]]:
    """Each record with its sample; DataError if that is not given."""
    by_id = {sample.id: sample for sample in samples}
    for record in records:
        if record.sample_id not in by_id:
            raise DataError(f"Sample {record.sample_id} of the records is not among the samples.")
        yield record, by_id[record.sample_id]


def _check(report: ChainReport) -> ChainCheck:
    return ChainCheck(len(report.true_steps), len(report.false_steps), report.sound)
