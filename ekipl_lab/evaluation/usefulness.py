"""Is a teacher worth its price? Measured on a sample of the training split, before training.

``usefulness`` compares the policy's records with those of each teacher on the same samples:
accuracy and pass@k, format failures, length, wrong chains behind right answers, cost; what only
the teacher solves; how far teachers overlap. For every task it recommends a gate:

- ``off``: it solves next to nothing that the policy does not (upper limit below ``MIN_GAIN``);
- ``more_samples``: the interval does not decide;
- ``if_unsolved``: it does, and the policy is often right by itself: ask it where the policy failed;
- ``always``: it does, and the policy is mostly wrong.

Pure: records in, rows out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation.chains import ChainChecks, chain_key
from ekipl_lab.evaluation.metrics import action_length, mean_of, success_counts
from ekipl_lab.evaluation.run import evaluate
from ekipl_lab.evaluation.summary import Group, grouped
from ekipl_lab.statistics import Interval, clustered_mean, pass_at_k, wilson
from ekipl_lab.types import (
    MISSING,
    Action,
    ActionSource,
    EvalRecord,
    GenerationParams,
    Sample,
    Scorer,
)

#: Share of samples that a teacher must newly solve to be worth anything.
MIN_GAIN = 0.02
#: From this accuracy on the policy is "often right by itself".
OFTEN_RIGHT = 0.5
#: From this share of right answers with a wrong chain on, a row is flagged.
MANY_WRONG_CHAINS = 0.2
#: The recommendation where the interval does not decide.
MORE_SAMPLES = "more_samples"
SLICES: tuple[tuple[str, ...], ...] = (("task",), ("task", "difficulty"), ("task", "family"))


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source on one slice. ``wrong_chains`` is the share of right answers whose chain is not
    sound, with an interval clustered by sample (``n`` samples have a right answer), None where
    chains cannot be checked; ``length`` as the caller counts it; ``cost`` in USD, of all actions;
    ``unanswered`` samples have no scorable action."""

    source: str
    where: Group
    samples: int
    unanswered: int
    actions: int
    accuracy: Interval | None
    pass_at: Mapping[int, Interval]
    format_failure: float | None
    truncated: float | None
    length: float | None
    wrong_chains: Interval | None
    cost: float


@dataclass(frozen=True, slots=True)
class GainRow:
    """One teacher beside the policy on one slice.

    ``newly_solved`` samples were solved by an action of the teacher and by none of the policy;
    ``newly`` is their share of those with an answer of the teacher that could be scored.
    ``cost_per_new`` in USD, None if there are none.
    """

    teacher: str
    where: Group
    samples: int
    policy_unsolved: int
    newly_solved: int
    newly: Interval
    only_policy: int
    cost_per_new: float | None
    gate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """Samples solved by both of two teachers, by one alone, by neither."""

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def jaccard(self) -> float | None:
        """Both over either; None if neither solves anything."""
        either = self.both + self.only_first + self.only_second
        return self.both / either if either else None


@dataclass(frozen=True, slots=True)
class Usefulness:
    """All rows, in the order of ``SLICES`` and of the sources, the policy first."""

    policy: str
    sources: tuple[SourceRow, ...]
    gains: tuple[GainRow, ...]
    overlaps: tuple[Overlap, ...]


def measure(
    source: ActionSource,
    samples: Sequence[Sample],
    scorer: Scorer,
    *,
    num_actions: int,
    params: GenerationParams,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[EvalRecord]:
    """Records of ``num_actions`` actions per sample; fewer where a gateway skipped some."""
    records = evaluate(
        source,
        samples,
        scorer,
        mode="sampled",
        num_samples=num_actions,
        params=params,
        batch_size=batch_size,
        progress=progress,
        allow_missing=True,
    )
    return [_of_given(record, source.id) for record in records]


def _of_given(record: EvalRecord, source_id: str) -> EvalRecord:
    """The record under the source's own name, without the actions that it did not give."""
    pairs = zip(record.actions, record.rewards, strict=True)
    given = [pair for pair in pairs if pair[0].finish_reason != MISSING]
    actions, rewards = tuple(a for a, _ in given), tuple(r for _, r in given)
    return replace(record, model_id=source_id, actions=actions, rewards=rewards)


def usefulness(
    policy: Sequence[EvalRecord],
    teachers: Mapping[str, Sequence[EvalRecord]],
    *,
    ks: Sequence[int] = (1, 4, 8, 16),
    chains: ChainChecks | None = None,
    policy_id: str = "policy",
    length: Callable[[Action], int] = action_length,
) -> Usefulness:
    """The whole comparison; DataError if the sources were not measured on the same samples.

    ``length`` of an action: one that counts all sources alike, such as by the policy's tokenizer.
    """
    by_source = {policy_id: list(policy), **{name: list(r) for name, r in teachers.items()}}
    _same_samples(by_source)
    solved = {name: _solved(records) for name, records in by_source.items()}
    sources, gains = [], []
    for by in SLICES:
        groups = {name: grouped(records, by) for name, records in by_source.items()}
        for where, members in groups[policy_id].items():
            ids = {record.sample_id for record in members}
            rows = {
                name: _source_row(name, where, parts[where], ks, chains, length)
                for name, parts in groups.items()
            }
            sources += list(rows.values())
            gains += [
                _gain_row(name, where, ids, solved[policy_id], solved[name], rows, policy_id)
                for name in teachers
            ]
    everyone = {record.sample_id for record in policy}
    overlaps = [
        _overlap(a, b, solved[a], solved[b], everyone) for a, b in combinations(teachers, 2)
    ]
    return Usefulness(policy_id, tuple(sources), tuple(gains), tuple(overlaps))


def recommend(newly: Interval, policy_accuracy: float | None) -> tuple[str, str]:
    """The gate and the reason for it; the rule is in the module's docstring."""
    share = f"{newly.value:.1%} ({newly.low:.1%} to {newly.high:.1%}) newly solved"
    if newly.high < MIN_GAIN:
        return "off", f"{share}: below {MIN_GAIN:.0%}"
    if newly.low < MIN_GAIN:
        return MORE_SAMPLES, f"{share}: not clear of {MIN_GAIN:.0%}; measure more samples"
    if policy_accuracy is not None and policy_accuracy >= OFTEN_RIGHT:
        return "if_unsolved", f"{share}; the policy is right {policy_accuracy:.0%} of the time"
    return "always", f"{share}; the policy is mostly wrong"


def _same_samples(by_source: Mapping[str, Sequence[EvalRecord]]) -> None:
    wanted: list[str] | None = None
    for name, records in by_source.items():
        ids = sorted(record.sample_id for record in records)
        if len(set(ids)) < len(ids):
            raise DataError(f"Source {name!r} has two records of one sample.")
        if wanted is not None and ids != wanted:
            raise DataError(f"Source {name!r} was not measured on the samples of the policy.")
        wanted = ids
    if not wanted:
        raise ConfigError("There are no samples to measure usefulness on.")


def _solved(records: Iterable[EvalRecord]) -> set[str]:
    return {record.sample_id for record in records if success_counts(record)[1] > 0}


def _source_row(
    name: str,
    where: Group,
    records: Sequence[EvalRecord],
    ks: Sequence[int],
    chains: ChainChecks | None,
    length: Callable[[Action], int],
) -> SourceRow:
    counts = [success_counts(record) for record in records]
    known = [(n, c) for n, c in counts if n > 0]
    actions = [action for record in records for action in record.actions]
    rewards = [reward for record in records for reward in record.rewards]
    formats = [reward.components.get("format") for reward in rewards]
    usages = [action.usage for action in actions if action.usage is not None]
    return SourceRow(
        source=name,
        where=where,
        samples=len(records),
        unanswered=len(counts) - len(known),
        actions=len(actions),
        accuracy=clustered_mean([c / n for n, c in known]) if known else None,
        pass_at={
            k: clustered_mean([pass_at_k(n, c, k) for n, c in known])
            for k in ks
            if known and all(n >= k for n, _ in known)
        },
        format_failure=mean_of(None if f is None else float(f < 1.0) for f in formats),
        truncated=mean_of(float(action.finish_reason == "length") for action in actions),
        length=mean_of(float(length(action)) for action in actions),
        wrong_chains=_wrong_chains(records, chains),
        cost=sum(usage.cost for usage in usages),
    )


def _wrong_chains(records: Sequence[EvalRecord], chains: ChainChecks | None) -> Interval | None:
    if chains is None:
        return None
    unsound: list[float] = []
    samples: list[str] = []
    for record in records:
        checks = chains.get(chain_key(record))
        if checks is None:
            continue
        pairs = zip(checks, record.rewards, strict=True)
        right = [float(not check.sound) for check, reward in pairs if reward.success]
        unsound += right
        samples += [record.sample_id] * len(right)
    return clustered_mean(unsound, samples) if unsound else None


def _gain_row(
    teacher: str,
    where: Group,
    ids: set[str],
    by_policy: set[str],
    by_teacher: set[str],
    rows: Mapping[str, SourceRow],
    policy_id: str,
) -> GainRow:
    new = ids & by_teacher - by_policy
    answered = len(ids) - rows[teacher].unanswered
    newly = wilson(len(new), max(1, answered))  # of none: nothing is known, and no gate follows
    accuracy = rows[policy_id].accuracy
    gate, reason = recommend(newly, None if accuracy is None else accuracy.value)
    if answered < len(ids):
        reason += f"; {teacher} gave a scorable answer on {answered} of {len(ids)} samples"
    wrong = rows[teacher].wrong_chains
    if wrong is not None and wrong.value >= MANY_WRONG_CHAINS and gate != "off":
        reason += f"; {wrong.value:.0%} of its right answers rest on a wrong chain"
    return GainRow(
        teacher=teacher,
        where=where,
        samples=len(ids),
        policy_unsolved=len(ids - by_policy),
        newly_solved=len(new),
        newly=newly,
        only_policy=len(ids & by_policy - by_teacher),
        cost_per_new=rows[teacher].cost / len(new) if new else None,
        gate=gate,
        reason=reason,
    )


def _overlap(first: str, second: str, a: set[str], b: set[str], everyone: set[str]) -> Overlap:
    return Overlap(first, second, len(a & b), len(a - b), len(b - a), len(everyone - a - b))
