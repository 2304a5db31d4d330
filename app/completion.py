"""One completion in words and numbers, alone or as a candidate of a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.chains import Step, check_steps, read_steps
from ekipl_lab.benchmarks.mini.steps import ChainReport
from ekipl_lab.parsing import parse_completion
from ekipl_lab.types import Action, RewardBreakdown, Sample

#: Longest completion shown as a card; the raw view says how much was cut.
MAX_SHOWN = 8_000


@dataclass(frozen=True, slots=True)
class Criterion:
    """One component of a reward."""

    name: str
    value: float | None
    weight: float


@dataclass(frozen=True, slots=True)
class Completion:
    """What an action says and earned, ready to be shown; ``success`` and ``total`` may be None."""

    steps: tuple[Step, ...]
    check: ChainReport | None
    answer: str | None
    problem: str
    success: bool | None
    criteria: tuple[Criterion, ...]
    total: float | None
    explanation: str
    finish_reason: str
    num_tokens: int | None
    price: float
    is_cached: bool
    raw: str
    raw_length: int


def describe(sample: Sample, action: Action, reward: RewardBreakdown | None) -> dict[str, Any]:
    """The fields of a `Completion`; no reward where there is no true answer to judge by."""
    parsed = parse_completion(action.completion)
    check = check_steps(sample, action.completion)
    weights = {} if reward is None else reward.weights
    components = {} if reward is None else reward.components
    return {
        "steps": read_steps(parsed.think or "", check),
        "check": check,
        "answer": parsed.answer,
        "problem": parsed.problem,
        "success": None if reward is None else reward.success,
        "criteria": tuple(Criterion(n, v, weights.get(n, 0.0)) for n, v in components.items()),
        "total": None if reward is None else reward.total,
        "explanation": "" if reward is None else reward.explanation,
        "finish_reason": action.finish_reason,
        "num_tokens": _num_tokens(action),
        "price": action.usage.cost if action.usage else 0.0,
        "is_cached": action.usage is not None and action.usage.cached,
        "raw": action.completion[:MAX_SHOWN],
        "raw_length": len(action.completion),
    }


def _num_tokens(action: Action) -> int | None:
    """Tokens written; by the server's own count where the tokens themselves are not known."""
    if action.token_ids is not None:
        return len(action.token_ids)
    return (action.usage.completion_tokens or None) if action.usage else None
