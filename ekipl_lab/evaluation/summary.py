"""EvalRecords -> rows of metrics with intervals, for every group of a slice.

Names say the mode, since the two are not comparable: ``accuracy_greedy`` is one greedy action per
item; ``pass_at_k`` the unbiased estimate from the sampled actions. Each metric:

accuracy_greedy         items whose greedy action succeeds (Wilson)
pass_at_k               chance that one of k sampled actions succeeds (Wilson over clusters = items)
majority_vote           items whose most frequent answer among the samples is right (first on a tie)
partial_credit_MODE     mean accuracy component, partial credit included
format_failure_MODE     actions not of the asked form
truncated_MODE          actions cut off by the token limit
unscorable_MODE         actions that could not be scored; they count in no accuracy
missing_MODE            actions that the source did not give; they count in nothing else
length_MODE             tokens per action (t over items); characters where no tokens are known
chain_sound_MODE        actions whose reasoning is true throughout and leads to the answer
chain_steps_true_MODE   mean share of true steps among an action's steps
right_but_unsound_MODE  actions with the right answer and a chain that is not sound
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ekipl_lab.errors import unknown_name
from ekipl_lab.evaluation.chains import ChainCheck, ChainChecks, chain_key
from ekipl_lab.evaluation.records import RECORD_FIELDS
from ekipl_lab.statistics import Interval, clustered_mean, paired_t, pass_at_k, wilson
from ekipl_lab.types import MISSING, Action, EvalRecord, RewardBreakdown

DEFAULT_KS = (1, 4, 8, 16)

#: Extra slices: name -> (sample id -> value), such as {"stratum": {...}}.
Labels = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric of one group; ``group`` maps each slice to its value; ``n`` counts items."""

    group: Mapping[str, str | int]
    metric: str
    value: float
    low: float
    high: float
    method: str
    n: int


def summarize(
    records: Iterable[EvalRecord],
    by: Sequence[str] = (),
    ks: Sequence[int] = DEFAULT_KS,
    *,
    chains: ChainChecks | None = None,
    labels: Labels | None = None,
) -> list[MetricRow]:
    """All metrics of every group, groups in order of their values.

    ``by`` names fields of EvalRecord (model_id, task, split, family, difficulty, mode) or of
    ``labels``. A k above the number of samples of an item is left out: pass@k is undefined there.
    Raises ConfigError for an unknown slice.
    """
    labels = labels or {}
    for name in by:
        if name not in (*RECORD_FIELDS, *labels):
            raise unknown_name("slice", name, (*RECORD_FIELDS, *labels))
    groups: dict[tuple[str | int, ...], list[EvalRecord]] = {}
    for record in records:
        key = tuple(slice_value(record, name, labels) for name in by)
        groups.setdefault(key, []).append(record)
    rows: list[MetricRow] = []
    for key in sorted(groups, key=lambda values: [(isinstance(v, str), v) for v in values]):
        group = dict(zip(by, key, strict=True))
        for metric, interval in _metrics(groups[key], ks, chains or {}):
            rows.append(
                MetricRow(
                    group,
                    metric,
                    interval.value,
                    interval.low,
                    interval.high,
                    interval.method,
                    interval.n,
                )
            )
    return rows


def slice_value(record: EvalRecord, name: str, labels: Labels) -> str | int:
    """The value of a slice for a record: of ``labels`` where it is one, else the field."""
    if name in labels:
        return labels[name].get(record.sample_id, "")
    value: str | int = getattr(record, name)
    return value


def _metrics(
    records: Sequence[EvalRecord], ks: Sequence[int], chains: ChainChecks
) -> list[tuple[str, Interval]]:
    found: list[tuple[str, Interval]] = []
    for mode in ("greedy", "sampled"):
        part = [record for record in records if record.mode == mode]
        if not part:
            continue
        found += _greedy(part) if mode == "greedy" else _sampled(part, ks)
        found += _of_actions(part, mode)
        found += _of_chains(part, mode, chains)
    return found


def _greedy(records: Sequence[EvalRecord]) -> list[tuple[str, Interval]]:
    scored = [record.rewards[0].success for record in records]
    known = [success for success in scored if success is not None]
    return [("accuracy_greedy", wilson(sum(known), len(known)))] if known else []


def _sampled(records: Sequence[EvalRecord], ks: Sequence[int]) -> list[tuple[str, Interval]]:
    counts = [success_counts(record) for record in records]
    found = []
    for k in ks:
        items = [pass_at_k(n, c, k) for n, c in counts if n >= k]
        if items:
            found.append((f"pass_at_{k}", clustered_mean(items)))
    votes = [vote for vote in map(majority_success, records) if vote is not None]
    if votes:
        found.append(("majority_vote", wilson(sum(votes), len(votes))))
    return found


def success_counts(record: EvalRecord) -> tuple[int, int]:
    """(actions that could be scored, those that succeed)."""
    known = [reward.success for reward in record.rewards if reward.success is not None]
    return len(known), sum(known)


def majority_success(record: EvalRecord) -> bool | None:
    """Whether the most frequent extracted answer is right; None if no action has an answer.

    Some published scorers judge the whole text where no answer can be extracted: once one such
    action is right, every action without an answer votes with its text.
    """
    answers = [reward.extracted_answer for reward in record.rewards]
    if any(reward.success and reward.extracted_answer is None for reward in record.rewards):
        texts = [action.completion.strip() for action in record.actions]
        answers = [t if a is None else a for a, t in zip(answers, texts, strict=True)]
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return None if all(reward.success is None for reward in record.rewards) else False
    winner = counts.most_common(1)[0][0]
    return record.rewards[answers.index(winner)].success


Share = Callable[[Action, RewardBreakdown], float | None]


def _accuracy(action: Action, reward: RewardBreakdown) -> float | None:
    return reward.components.get("accuracy")


def _format_failure(action: Action, reward: RewardBreakdown) -> float | None:
    value = reward.components.get("format")
    return None if value is None else float(value < 1.0)


def _truncated(action: Action, reward: RewardBreakdown) -> float | None:
    return None if action.finish_reason == MISSING else float(action.finish_reason == "length")


def _unscorable(action: Action, reward: RewardBreakdown) -> float | None:
    return None if action.finish_reason == MISSING else float(reward.success is None)


def _missing(action: Action, reward: RewardBreakdown) -> float | None:
    return float(action.finish_reason == MISSING)


SHARES: dict[str, Share] = {
    "partial_credit": _accuracy,
    "format_failure": _format_failure,
    "truncated": _truncated,
    "unscorable": _unscorable,
    "missing": _missing,
}


def _of_actions(records: Sequence[EvalRecord], mode: str) -> list[tuple[str, Interval]]:
    """Means over items of each item's mean over its actions."""
    found = []
    for name, share in SHARES.items():
        means = [
            _mean([share(a, r) for a, r in zip(record.actions, record.rewards, strict=True)])
            for record in records
        ]
        known = [mean for mean in means if mean is not None]
        if known:
            bounded = all(0.0 <= mean <= 1.0 for mean in known)
            interval = clustered_mean(known) if bounded else _mean_over_items(known)
            found.append((f"{name}_{mode}", interval))
    lengths = [
        _mean([float(action_length(a)) for a in record.actions if a.finish_reason != MISSING])
        for record in records
    ]
    if known_lengths := [length for length in lengths if length is not None]:
        found.append((f"length_{mode}", _mean_over_items(known_lengths)))
    return found


def action_length(action: Action) -> int:
    """Tokens of an action; characters where its tokens are not known."""
    if action.token_ids is not None:
        return len(action.token_ids)
    if action.usage is not None and action.usage.completion_tokens:
        return action.usage.completion_tokens
    return len(action.completion)


def _of_chains(
    records: Sequence[EvalRecord], mode: str, chains: ChainChecks
) -> list[tuple[str, Interval]]:
    sound: list[float] = []
    true_share: list[float] = []
    unsound_right: list[float] = []
    for record in records:
        checks = chains.get(chain_key(record))
        if not checks:
            continue
        sound.append(sum(check.sound for check in checks) / len(checks))
        shares = [share for share in map(_true_share, checks) if share is not None]
        true_share += [sum(shares) / len(shares)] if shares else []
        right = [bool(reward.success) for reward in given_rewards(record)]
        pairs = zip(checks, right, strict=True)
        unsound_right.append(sum(r and not c.sound for c, r in pairs) / len(checks))
    named = {
        "chain_sound": sound,
        "chain_steps_true": true_share,
        "right_but_unsound": unsound_right,
    }
    return [(f"{n}_{mode}", clustered_mean(values)) for n, values in named.items() if values]


def given_rewards(record: EvalRecord) -> list[RewardBreakdown]:
    """The rewards of the actions that the source gave, in order."""
    pairs = zip(record.actions, record.rewards, strict=True)
    return [reward for action, reward in pairs if action.finish_reason != MISSING]


def _true_share(check: ChainCheck) -> float | None:
    steps = check.true_steps + check.false_steps
    return check.true_steps / steps if steps else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mean_over_items(values: Sequence[float]) -> Interval:
    if len(values) < 2:
        return Interval(values[0], values[0], values[0], "single item", 1)
    interval = paired_t(values)
    return Interval(interval.value, interval.low, interval.high, "t over items", interval.n)
