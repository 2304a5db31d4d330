"""Rates and budgets as plain arithmetic: may this call be sent now, later, or never?

Rates are counted over a sliding window of one minute. A budget is a ceiling that nothing passes:
what a call may cost at most is reserved before it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from ekipl_lab.validation import Section

WINDOW_SECONDS = 60.0
NANO = 1_000_000_000  # money is counted in whole billionths of a US dollar


class Budget(Section):
    """Ceilings for one account of a store, over all runs; None: no ceiling."""

    calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    usd: float | None = Field(default=None, ge=0.0)


@dataclass(frozen=True, slots=True)
class Amounts:
    """Calls, tokens (read and written) and money (billionths of a US dollar)."""

    calls: int = 0
    tokens: int = 0
    nano_usd: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.calls + other.calls, self.tokens + other.tokens, self.nano_usd + other.nano_usd
        )

    def __neg__(self) -> Amounts:
        return Amounts(-self.calls, -self.tokens, -self.nano_usd)

    @property
    def usd(self) -> float:
        """Money in US dollars."""
        return self.nano_usd / NANO


def over_budget(used: Amounts, more: Amounts, budget: Budget) -> str | None:
    """What the budget forbids, in words, if ``more`` were spent on top of ``used``; else None."""
    after = used + more
    if budget.calls is not None and after.calls > budget.calls:
        return f"calls: {used.calls} of {budget.calls} are used or may have been"
    if budget.tokens is not None and after.tokens > budget.tokens:
        return f"tokens: {used.tokens} of {budget.tokens} are used, {more.tokens} more are needed"
    if budget.usd is not None and after.nano_usd > round(budget.usd * NANO):
        return (
            f"money: {used.usd:.6f} of {budget.usd:.6f} USD are used, "
            f"the next call may cost {more.usd:.6f}"
        )
    return None


def seconds_to_wait(
    recent: Sequence[tuple[float, int]],
    now: float,
    tokens: int,
    *,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
) -> float:
    """Seconds until one more request of ``tokens`` tokens fits both rates; 0 if it fits now.

    ``recent`` holds (time sent, tokens) of the last minute's requests, oldest first. A request
    larger than the whole rate is let through alone, when nothing else is in the window.
    """
    wait = 0.0
    if requests_per_minute is not None and len(recent) >= requests_per_minute:
        leaves = recent[len(recent) - requests_per_minute][0]
        wait = max(wait, leaves + WINDOW_SECONDS - now)
    if tokens_per_minute is not None:
        used = sum(amount for _, amount in recent)
        for sent, amount in recent:
            if used + tokens <= tokens_per_minute:
                break
            used -= amount
            wait = max(wait, sent + WINDOW_SECONDS - now)
    return max(wait, 0.0)
