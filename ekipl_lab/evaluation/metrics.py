"""Evaluation metrics: one function of an item and one line of ``METRICS`` each.

Summaries, comparisons over seeds, names in MLflow (``eval/<set>/<name>``), the rows of reports and
the table in docs/scoring.md follow from the line. An item is a record with the checks of its
chains; a metric that is undefined for an item is None there, and the item does not count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal

from ekipl_lab.errors import unknown_name
from ekipl_lab.evaluation.chains import ChainCheck
from ekipl_lab.rewards.plain import said, unlatex
from ekipl_lab.statistics import Interval, clustered_mean, paired_t, pass_at_k, wilson
from ekipl_lab.types import MISSING, Action, EvalRecord, RewardBreakdown

MODES = ("greedy", "sampled")
DEFAULT_KS = (1, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Item:
    """One record, and a check of each chain that was given; no checks where none were made."""

    record: EvalRecord
    checks: Sequence[ChainCheck] = ()


ItemValue = Callable[[Item], float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table; ``metrics_of`` completes the names.

    ``title`` is for pages, ``meaning`` for docs. ``interval`` names one of ``INTERVALS``. ``mode``
    is empty where both modes have the metric, which then ends in ``_greedy`` or ``_sampled``.
    ``drawn``: in the headline of a report, among its table of how answers came about, or nowhere.
    """

    name: str
    title: str
    meaning: str
    value: ItemValue
    interval: str = "Wilson over clusters"
    mode: str = ""
    drawn: Literal["headline", "quality", ""] = "quality"

    def estimate(self, values: Sequence[float]) -> Interval:
        """The mean of the items' values (one or more) with its interval."""
        return INTERVALS[self.interval](values)


def accuracy(item: Item) -> float | None:
    """1 or 0 for the first action; None where it could not be scored."""
    success = item.record.rewards[0].success
    return None if success is None else float(success)


def pass_rate(item: Item, k: int) -> float | None:
    """pass@k; None with fewer than k actions that could be scored."""
    known, right = success_counts(item.record)
    return pass_at_k(known, right, k) if known >= k else None


def success_counts(record: EvalRecord) -> tuple[int, int]:
    """(actions that could be scored, those that succeed)."""
    known = [reward.success for reward in record.rewards if reward.success is not None]
    return len(known), sum(known)


@lru_cache(maxsize=1 << 16)
def _voted(answer: str) -> str:
    """The form of an answer that votes: samples of an item repeat few answers many times."""
    return unlatex(said(answer, letter=True) or answer)


def majority(item: Item) -> float | None:
    """Whether the most frequent extracted answer is right; None if no action with it, or no action
    at all, could be scored.

    Forms of one answer vote together: ``5``, ``$5$`` and ``Answer: 5``.

    Some published scorers judge the whole text where no answer can be extracted: once one such
    action is right, every action without an answer votes with its text.
    """
    rewards = item.record.rewards
    answers = [reward.extracted_answer for reward in rewards]
    if any(reward.success and reward.extracted_answer is None for reward in rewards):
        texts = [action.completion.strip() for action in item.record.actions]
        answers = [t if a is None else a for a, t in zip(answers, texts, strict=True)]
    answers = [None if a is None else _voted(a) for a in answers]
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return None if all(reward.success is None for reward in rewards) else 0.0
    top = counts.most_common(1)[0][0]
    pairs = zip(answers, rewards, strict=True)
    known = (r.success for answer, r in pairs if answer == top and r.success is not None)
    return next(map(float, known), None)


def over_actions(share: Callable[[Action, RewardBreakdown], float | None]) -> ItemValue:
    """The mean of a function of actions over those of an item; its None count in nothing."""

    def value(item: Item) -> float | None:
        pairs = zip(item.record.actions, item.record.rewards, strict=True)
        return mean_of(share(action, reward) for action, reward in pairs)

    return value


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _partial_credit(action: Action, reward: RewardBreakdown) -> float | None:
    return reward.components.get("accuracy")


def _format_failure(action: Action, reward: RewardBreakdown) -> float | None:
    value = reward.components.get("format")
    return None if value is None else float(value < 1.0)


def _truncated(action: Action, reward: RewardBreakdown) -> float | None:
    return None if action.finish_reason == MISSING else float(action.finish_reason == "length")


def _unscorable(action: Action, reward: RewardBreakdown) -> float | None:
    return None if action.finish_reason == MISSING else float(reward.success is None)


def _missing(action: Action, reward: RewardBreakdown) -> float:
    return float(action.finish_reason == MISSING)


def _length(action: Action, reward: RewardBreakdown) -> float | None:
    return None if action.finish_reason == MISSING else float(action_length(action))


def action_length(action: Action) -> int:
    """Tokens of an action; characters where its tokens are not known."""
    if action.token_ids is not None:
        return len(action.token_ids)
    if action.usage is not None and action.usage.completion_tokens:
        return action.usage.completion_tokens
    return len(action.completion)


def _chain_sound(item: Item) -> float | None:
    return mean_of(float(check.sound) for check in item.checks)


def _chain_steps_true(item: Item) -> float | None:
    steps = [(check.true_steps, check.true_steps + check.false_steps) for check in item.checks]
    return mean_of(true / total for true, total in steps if total)


def _right_but_unsound(item: Item) -> float | None:
    if not item.checks:
        return None
    pairs = zip(item.record.actions, item.record.rewards, strict=True)
    given = [reward for action, reward in pairs if action.finish_reason != MISSING]
    checked = zip(given, item.checks, strict=True)
    return mean_of(float(bool(r.success) and not check.sound) for r, check in checked)


def _share(values: Sequence[float]) -> Interval:
    """Over items that are clusters of actions; t over items where scores leave [0, 1]."""
    bounded = all(0.0 <= value <= 1.0 for value in values)
    return clustered_mean(values) if bounded else _mean(values)


def _mean(values: Sequence[float]) -> Interval:
    if len(values) < 2:
        return Interval(values[0], values[0], values[0], "single item", 1)
    return replace(paired_t(values), method="t over items")


INTERVALS: dict[str, Callable[[Sequence[float]], Interval]] = {
    "Wilson": lambda values: wilson(int(sum(values)), len(values)),
    "Wilson over clusters": _share,
    "t over items": _mean,
}

_PASS = "pass_at_k"

METRICS: tuple[Metric, ...] = (
    Metric(
        "accuracy_greedy", "greedy accuracy", "items whose one greedy action succeeds",
        accuracy, "Wilson", "greedy", "headline",
    ),
    Metric(
        _PASS, "pass@k", "unbiased chance `1 - C(n-c, k)/C(n, k)` that one of k sampled actions "
        "succeeds, c of n being right; left out where k > n",
        partial(pass_rate, k=1), mode="sampled", drawn="headline",
    ),
    Metric(
        "majority_vote", "majority vote", "items whose most frequent sampled answer is right (the "
        "first on a tie)", majority, "Wilson", "sampled", "",
    ),
    Metric(
        "partial_credit", "partial credit", "accuracy component, partial credit included",
        over_actions(_partial_credit), drawn="",
    ),
    Metric(
        "format_failure", "not in the asked form", "actions not in the asked form",
        over_actions(_format_failure),
    ),
    Metric(
        "truncated", "cut off by the token limit", "actions cut off by the token limit",
        over_actions(_truncated),
    ),
    Metric(
        "unscorable", "could not be scored", "actions that could not be scored; they count in no "
        "accuracy", over_actions(_unscorable),
    ),
    Metric(
        "missing", "not given by the source", "actions that the source did not give "
        "(`allow_missing=True`); they count in nothing else", over_actions(_missing),
    ),
    Metric(
        "chain_sound", "reasoning true throughout, leads to the answer", "actions whose reasoning "
        "is true throughout and leads to the answer (`chains=check_chains(...)`)", _chain_sound,
    ),
    Metric(
        "chain_steps_true", "true steps", "share of true steps in an action's reasoning",
        _chain_steps_true,
    ),
    Metric(
        "right_but_unsound", "right answer behind unsound reasoning", "actions with the right "
        "answer and reasoning that is not sound", _right_but_unsound,
    ),
    Metric(
        "length", "tokens per completion", "tokens per action; characters where no tokens are "
        "known", over_actions(_length), "t over items",
    ),
)  # fmt: skip


def metrics_of(mode: str, ks: Sequence[int] = DEFAULT_KS) -> list[Metric]:
    """The metrics of a mode under their full names, pass@k once for each of ``ks``."""
    found: list[Metric] = []
    for metric in METRICS:
        if metric.name == _PASS and mode == "sampled":
            found += [
                replace(
                    metric, name=f"pass_at_{k}", title=f"pass@{k}", value=partial(pass_rate, k=k)
                )
                for k in ks
            ]
        elif metric.mode == mode:
            found.append(metric)
        elif not metric.mode:
            found.append(replace(metric, name=f"{metric.name}_{mode}", mode=mode))
    return found


def find_metric(name: str) -> Metric:
    """The metric of a full name, such as ``pass_at_4``; ConfigError for an unknown one."""
    number = re.fullmatch(r"pass_at_([1-9]\d*)", name)
    ks = [int(number[1])] if number else []
    known = {metric.name: metric for mode in MODES for metric in metrics_of(mode, ks)}
    if name not in known:
        raise unknown_name("metric", name, [*known, _PASS])
    return known[name]


def metrics_table() -> str:
    """The table of docs/scoring.md."""
    rows = ["| metric | what | interval |", "|---|---|---|"]
    for metric in METRICS:
        name = metric.name if metric.mode else f"{metric.name}_MODE"
        rows.append(f"| `{name}` | {metric.meaning} | {metric.interval} |")
    return "\n".join(rows)
