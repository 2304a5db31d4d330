"""The settings of a gateway (the ``gateway:`` block of a teacher in a config)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ekipl_lab.teachers.gateway.limits import Budget
from ekipl_lab.teachers.gateway.pricing import Price
from ekipl_lab.validation import Section

OnError = Literal["abort", "skip", "wait"]


class GatewaySpec(Section):
    """Cache, budget, rates, retries.

    - ``cache``: the store, one file for any number of teachers and processes.
    - ``account``: what budget and rates are counted over; default: the teacher's id.
    - ``offline``: answers come from the cache alone; one that is missing is an error.
    - ``retries``: further attempts after a failed one; ``backoff`` the first pause in seconds,
      doubled each time unless the server names its own; ``max_wait`` the longest pause taken.
    - ``reask``: how often an unusable answer (empty, refused) is asked anew; each one is paid for.
    - ``on_error``: ``abort`` the run; ``skip`` the action, so that a sample gets fewer;
      ``wait`` and try again for as long as it takes, unless trying again cannot help.
    - ``on_budget``: what a used-up budget does: ``abort`` or ``skip``.
    - ``fresh_draws``: a repeated prompt with another seed is asked anew, not taken from the cache.
    """

    cache: Path = Path("mlruns/teachers.sqlite3")
    account: str | None = None
    offline: bool = False
    in_flight: int = Field(default=16, ge=1, le=512)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=120.0, gt=0.0)
    retries: int = Field(default=5, ge=0)
    backoff: float = Field(default=1.0, ge=0.0)
    max_wait: float = Field(default=300.0, ge=0.0)
    reask: int = Field(default=1, ge=0)
    on_error: OnError = "abort"
    on_budget: Literal["abort", "skip"] = "abort"
    budget: Budget = Budget()
    price: Price | None = None
    fresh_draws: bool = False
