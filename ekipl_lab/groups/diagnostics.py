"""The metrics of a generation: one flat dict of numbers per step, by action source.

    policy/reward  policy/accuracy  policy/truncated      the policy's own G actions, always apart
    kept/reward    kept/accuracy                          what is trained on
    teacher/<id>/reward, /accuracy, /actions, /refused/<reason>, /not_asked/<reason>
    teacher/<id>/tokens, /usd, /cached, /latency          of all it gave: sums, share, mean seconds
    teacher/<id>/calls, /cache_hits, /cost_usd, ...      its gateway's counts of this generation
    share/<source>/candidates  share/<source>/kept
    advantage/<source>/abs_sum                            sum of |A| over kept actions
    length/<source>                                       mean tokens of candidates, EOS included
    groups/zero_spread_before                             the policy's own G rewards are all equal
    groups/zero_spread_after, /zero_<cause>               the kept rewards are, and why: a key
                                                          of `doctor.causes.CAUSES`

A mean over nothing is left out, never 0. `GroupCosts` adds up what the run has cost so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ekipl_lab.groups.candidates import reward_totals
from ekipl_lab.groups.doctor.causes import CAUSES, have_spread, policy_rows, zero_spread_cause
from ekipl_lab.groups.pool import NO_REPLY, GenerationBatch, Pool
from ekipl_lab.teachers.gateway.spending import as_metrics
from ekipl_lab.types import POLICY, Action, ActionGroup, RewardBreakdown, Usage


def batch_metrics(batch: GenerationBatch, teachers: Sequence[str]) -> dict[str, float]:
    """Metrics of one generation; ``teachers`` are the ids of all teachers, silent ones too."""
    metrics: dict[str, float | None] = {}
    rows = [row for group in batch.groups for row in _rows(group)]
    kept_rows = [row for row in rows if row.advantage is not None]
    for source in (POLICY, *teachers):
        prefix = source if source == POLICY else f"teacher/{source}"
        own = [row for row in rows if row.action.source == source]
        kept = [row for row in own if row.advantage is not None]
        metrics |= _scores(prefix, own)
        metrics[f"share/{source}/candidates"] = len(own) / len(rows)
        metrics[f"share/{source}/kept"] = len(kept) / len(kept_rows)
        metrics[f"advantage/{source}/abs_sum"] = sum(abs(row.advantage or 0.0) for row in kept)
    metrics |= _scores("kept", kept_rows)
    policy = [row.action for row in rows if row.action.source == POLICY]
    metrics["policy/truncated"] = _mean(action.finish_reason == "length" for action in policy)
    metrics |= _lengths(batch.pools) | _replies(batch.pools)
    metrics |= _spread(batch.groups)
    metrics |= as_metrics(batch.spent)
    metrics |= {f"seconds/{name}": value for name, value in batch.seconds.items()}
    return {name: value for name, value in metrics.items() if value is not None}


@dataclass
class GroupCosts:
    """What a run has cost so far, on every axis but time; logged as ``cost/<axis>``."""

    policy_completions: float = 0.0
    policy_tokens: float = 0.0
    trained_tokens: float = 0.0
    teacher_actions: float = 0.0
    teacher_tokens: float = 0.0
    teacher_usd: float = 0.0
    teacher_paid_usd: float = 0.0

    def add(self, batch: GenerationBatch, trained: GenerationBatch | None = None) -> None:
        """Count one generation: teacher tokens are all that the teacher wrote, refused too.

        ``trained``: what of it is trained on, where that is not all (`training.refill`).

        ``teacher_usd`` is what the actions cost when they were bought, again each time one is
        used; ``teacher_paid_usd`` is what was paid now.
        """
        self.teacher_paid_usd += sum(counts["cost_usd"] for counts in batch.spent.values())
        for group, pool in (trained or batch).pairs:
            self.trained_tokens += sum(len(pool.token_ids[i]) for i in group.kept)
        for pool in batch.pools:
            lengths = [len(ids) for ids in pool.token_ids]
            policy = [n for n, a in zip(lengths, pool.actions, strict=True) if a.source == POLICY]
            self.policy_completions += len(policy)
            self.policy_tokens += sum(policy)
            self.teacher_actions += sum(reply.refused != NO_REPLY for reply in pool.replies)
            self.teacher_tokens += sum(reply.usage.completion_tokens for reply in pool.replies)
            self.teacher_usd += sum(reply.usage.cost for reply in pool.replies)
            self.teacher_paid_usd += sum(
                reply.usage.cost
                for reply in pool.replies
                if reply.teacher not in batch.spent and not reply.usage.cached
            )


@dataclass(frozen=True, slots=True)
class _Row:
    action: Action
    reward: RewardBreakdown
    advantage: float | None


def _rows(group: ActionGroup) -> list[_Row]:
    """All candidates; ``advantage`` is None where one was dropped."""
    advantages = dict(zip(group.kept, group.advantages, strict=True))
    pairs = zip(group.candidates, group.rewards, strict=True)
    return [_Row(a, r, advantages.get(i)) for i, (a, r) in enumerate(pairs)]


def _scores(prefix: str, rows: Sequence[_Row]) -> dict[str, float | None]:
    totals = [row.reward.total for row in rows]
    successes = [row.reward.success for row in rows]
    return {
        f"{prefix}/reward": _mean(total for total in totals if total is not None),
        f"{prefix}/accuracy": _mean(success for success in successes if success is not None),
    }


def _lengths(pools: Sequence[Pool]) -> dict[str, float | None]:
    by_source: dict[str, list[int]] = {}
    for pool in pools:
        for action, ids in zip(pool.actions, pool.token_ids, strict=True):
            by_source.setdefault(action.source, []).append(len(ids))
    return {f"length/{source}": _mean(lengths) for source, lengths in by_source.items()}


def _replies(pools: Sequence[Pool]) -> dict[str, float | None]:
    """How many actions each teacher gave, refused and was not asked for, and what they cost."""
    counts: Counter[str] = Counter()
    usages: dict[str, list[Usage]] = {}
    for pool in pools:
        for reply in pool.replies:
            if reply.refused != NO_REPLY:
                counts[f"teacher/{reply.teacher}/actions"] += 1
                usages.setdefault(reply.teacher, []).append(reply.usage)
            if reply.refused:
                counts[f"teacher/{reply.teacher}/refused/{reply.refused}"] += 1
        counts.update(f"teacher/{teacher}/not_asked/{reason}" for teacher, reason in pool.not_asked)
    metrics: dict[str, float | None] = {name: float(count) for name, count in counts.items()}
    for teacher, spent in usages.items():
        metrics |= {
            f"teacher/{teacher}/tokens": float(sum(u.completion_tokens for u in spent)),
            f"teacher/{teacher}/usd": sum(u.cost for u in spent),
            f"teacher/{teacher}/cached": _mean(u.cached for u in spent),
            f"teacher/{teacher}/latency": _mean(u.latency for u in spent),
        }
    return metrics


def _spread(groups: Sequence[ActionGroup]) -> dict[str, float | None]:
    before = []
    for group in groups:
        totals = reward_totals(group.rewards)
        before.append(not have_spread([totals[i] for i in policy_rows(group)]))
    causes = [zero_spread_cause(group) for group in groups]
    metrics: dict[str, float | None] = {
        f"groups/zero_{cause}": causes.count(cause) / len(groups) for cause in CAUSES
    }
    metrics["groups/zero_spread_before"] = _mean(before)
    metrics["groups/zero_spread_after"] = _mean(cause is not None for cause in causes)
    return metrics


def _mean(values: Iterable[float]) -> float | None:
    numbers = [float(value) for value in values]
    return sum(numbers) / len(numbers) if numbers else None
