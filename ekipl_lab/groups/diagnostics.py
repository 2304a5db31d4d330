"""What a round of groups tells: one flat dict of numbers per step, by action source.

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
                                                          of `group_doctor.causes.CAUSES`

A mean over nothing is left out, never 0. `GroupCosts` adds up what the run has cost so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ekipl_lab.groups.build import reward_totals
from ekipl_lab.groups.collect import NO_REPLY, GenerationBatch, Pool
from ekipl_lab.groups.doctor.causes import CAUSES, have_spread, policy_rows, zero_spread_cause
from ekipl_lab.teachers.gateway.spending import as_metrics
from ekipl_lab.types import POLICY, Action, ActionGroup, RewardBreakdown, Usage


def batch_metrics(done: GenerationBatch, teachers: Sequence[str]) -> dict[str, float]:
    """Metrics of one generation; ``teachers`` are the ids of all teachers, silent ones too."""
    metrics: dict[str, float | None] = {}
    rows = [row for group in done.groups for row in _rows(group)]
    kept_rows = [row for row in rows if row.advantage is not None]
    for source in (POLICY, *teachers):
        prefix = source if source == POLICY else f"teacher/{source}"
        own = [row for row in rows if row.source == source]
        kept = [row for row in own if row.advantage is not None]
        metrics |= {f"{prefix}/{name}": value for name, value in _scores(own).items()}
        metrics[f"share/{source}/candidates"] = len(own) / len(rows)
        metrics[f"share/{source}/kept"] = len(kept) / len(kept_rows)
        metrics[f"advantage/{source}/abs_sum"] = sum(abs(row.advantage or 0.0) for row in kept)
    metrics |= {f"kept/{name}": value for name, value in _scores(kept_rows).items()}
    policy = [row.action for row in rows if row.source == POLICY]
    metrics["policy/truncated"] = _mean(action.finish_reason == "length" for action in policy)
    metrics |= _lengths(done.pools) | _given(done.pools) | _spread(done.groups)
    metrics |= as_metrics(done.spent)
    metrics |= {f"seconds/{name}": value for name, value in done.seconds.items()}
    return {name: value for name, value in metrics.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Row:
    source: str
    action: Action
    reward: RewardBreakdown
    advantage: float | None


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

    def add(self, done: GenerationBatch) -> None:
        """Count one generation: teacher tokens are all that the teacher wrote, refused too.

        ``teacher_usd`` is what the actions cost when they were bought, again each time one is
        used; ``teacher_paid_usd`` is what was paid now.
        """
        self.teacher_paid_usd += sum(counts["cost_usd"] for counts in done.spent.values())
        for pool, group in zip(done.pools, done.groups, strict=True):
            lengths = [len(ids) for ids in pool.token_ids]
            policy = [n for n, a in zip(lengths, pool.actions, strict=True) if a.source == POLICY]
            self.policy_completions += len(policy)
            self.policy_tokens += sum(policy)
            self.trained_tokens += sum(lengths[i] for i in group.kept)
            self.teacher_actions += sum(given.refused != NO_REPLY for given in pool.given)
            self.teacher_tokens += sum(given.usage.completion_tokens for given in pool.given)
            self.teacher_usd += sum(given.usage.cost for given in pool.given)
            self.teacher_paid_usd += sum(
                given.usage.cost
                for given in pool.given
                if given.teacher not in done.spent and not given.usage.cached
            )


def _rows(group: ActionGroup) -> list[_Row]:
    advantages = dict(zip(group.kept, group.advantages, strict=True))
    pairs = zip(group.candidates, group.rewards, strict=True)
    return [_Row(a.source, a, r, advantages.get(i)) for i, (a, r) in enumerate(pairs)]


def _scores(rows: Sequence[_Row]) -> dict[str, float | None]:
    totals = [row.reward.total for row in rows]
    successes = [row.reward.success for row in rows]
    return {
        "reward": _mean(total for total in totals if total is not None),
        "accuracy": _mean(success for success in successes if success is not None),
    }


def _lengths(pools: Sequence[Pool]) -> dict[str, float | None]:
    by_source: dict[str, list[int]] = {}
    for pool in pools:
        for action, ids in zip(pool.actions, pool.token_ids, strict=True):
            by_source.setdefault(action.source, []).append(len(ids))
    return {f"length/{source}": _mean(lengths) for source, lengths in by_source.items()}


def _given(pools: Sequence[Pool]) -> dict[str, float | None]:
    counts: dict[str, float | None] = {}
    for given in (given for pool in pools for given in pool.given):
        names = [f"teacher/{given.teacher}/actions"] if given.refused != NO_REPLY else []
        if given.refused:
            names.append(f"teacher/{given.teacher}/refused/{given.refused}")
        for name in names:
            counts[name] = (counts.get(name) or 0.0) + 1
    for teacher, reason in (pair for pool in pools for pair in pool.gated):
        name = f"teacher/{teacher}/not_asked/{reason}"
        counts[name] = (counts.get(name) or 0.0) + 1
    return counts | _teacher_costs(pools)


def _teacher_costs(pools: Sequence[Pool]) -> dict[str, float | None]:
    """What each teacher's actions of this generation cost, refused ones too."""
    by_teacher: dict[str, list[Usage]] = {}
    for given in (given for pool in pools for given in pool.given if given.refused != NO_REPLY):
        by_teacher.setdefault(given.teacher, []).append(given.usage)
    costs: dict[str, float | None] = {}
    for teacher, usages in by_teacher.items():
        costs |= {
            f"teacher/{teacher}/tokens": float(sum(u.completion_tokens for u in usages)),
            f"teacher/{teacher}/usd": sum(u.cost for u in usages),
            f"teacher/{teacher}/cached": _mean(u.cached for u in usages),
            f"teacher/{teacher}/latency": _mean(u.latency for u in usages),
        }
    return costs


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
