"""Are the reasoning steps true? Counted per action with a checker that is handed in.

``checker(sample, completion) -> report`` with ``true_steps`` and ``false_steps`` (sequences) and
``sound`` (the whole chain is true and leads to its answer), such as
``ekipl_lab.benchmarks.mini.chains.check_chain``. The reward cannot see a wrong chain behind a right
answer; this can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ekipl_lab.errors import DataError
from ekipl_lab.types import MISSING, EvalRecord, Sample


class ChainReport(Protocol):
    """What a checker must tell about one completion."""

    @property
    def true_steps(self) -> Sequence[str]:
        """Steps that hold in the scene."""

    @property
    def false_steps(self) -> Sequence[str]:
        """Steps that do not."""

    @property
    def sound(self) -> bool:
        """Whether every step is true and the answer follows."""


Checker = Callable[[Sample, str], ChainReport]


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """Counts of one completion's true and false steps, and whether the chain is sound."""

    true_steps: int
    false_steps: int
    sound: bool


#: (sample id, model id, mode) -> one ChainCheck per action.
ChainChecks = Mapping[tuple[str, str, str], Sequence[ChainCheck]]


def check_chains(
    records: Iterable[EvalRecord], samples: Iterable[Sample], checker: Checker
) -> dict[tuple[str, str, str], tuple[ChainCheck, ...]]:
    """Every action that was given checked; DataError if a record's sample is not given."""
    by_id = {sample.id: sample for sample in samples}
    checks: dict[tuple[str, str, str], tuple[ChainCheck, ...]] = {}
    for record in records:
        sample = by_id.get(record.sample_id)
        if sample is None:
            raise DataError(f"Sample {record.sample_id} of the records is not among the samples.")
        checks[chain_key(record)] = tuple(
            _check(checker(sample, action.completion))
            for action in record.actions
            if action.finish_reason != MISSING
        )
    return checks


def chain_key(record: EvalRecord) -> tuple[str, str, str]:
    """What names a record among the checks."""
    return record.sample_id, record.model_id, record.mode


def _check(report: ChainReport) -> ChainCheck:
    return ChainCheck(len(report.true_steps), len(report.false_steps), report.sound)
