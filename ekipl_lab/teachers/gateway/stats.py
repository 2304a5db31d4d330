"""What a gateway did in this process, counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from ekipl_lab.teachers.gateway.limits import NANO


@dataclass(slots=True)
class GatewayStats:
    """Counters since the gateway was made; ``errors`` and ``failures`` by kind.

    An *error* is a request that failed, and was perhaps tried again; a *failure* is an action that
    is missing in the end. ``waited_s`` is the seconds that threads spent waiting for a turn.
    ``prefetched`` actions were bought before anybody asked for them; ``prefetch_used`` of them were
    then asked for, ``prefetch_wasted`` were not while that was expected. ``odd_usage`` answers
    came with a count of tokens that cannot be.
    """

    calls: int = 0
    cache_hits: int = 0
    bought: int = 0
    retries: int = 0
    reasked: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    nano_usd: int = 0
    odd_usage: int = 0
    latency_s: float = 0.0
    waited_s: float = 0.0
    prefetched: int = 0
    prefetch_used: int = 0
    prefetch_wasted: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    _prefetching: set[str] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, error: str = "", failure: str = "", **amounts: float) -> None:
        """Add to the counters of these names; one ``error`` or ``failure`` of that kind."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)
            self.errors.update([error] if error else [])
            self.failures.update([failure] if failure else [])

    def fetch(self, keys: Iterable[str]) -> None:
        """These keys are being bought ahead."""
        with self._lock:
            self._prefetching |= set(keys)

    def fetched(self, keys: Iterable[str], bought: Iterable[str]) -> None:
        """Of these keys, those were bought."""
        with self._lock:
            got = set(bought)
            self._prefetching -= set(keys) - got
            self.prefetched += len(got)

    def use(self, keys: Iterable[str]) -> None:
        """The answers of these keys are used."""
        with self._lock:
            self.prefetch_used += self._ended(keys)

    def waste(self, keys: Iterable[str]) -> None:
        """What was bought ahead of these keys will not be used."""
        with self._lock:
            self.prefetch_wasted += self._ended(keys)

    def _ended(self, keys: Iterable[str]) -> int:
        """How many of these keys were bought ahead; they are not any more."""
        ended = self._prefetching.intersection(keys)
        self._prefetching -= ended
        return len(ended)

    def totals(self) -> dict[str, float]:
        """All counters as flat numbers that add up over processes."""
        with self._lock:
            counts = {each.name: getattr(self, each.name) for each in fields(self)[:-2]}
            errors, failures = counts.pop("errors"), counts.pop("failures")
            counts |= {"errors": errors.total(), "failures": failures.total()}
            counts |= {f"failures_{kind}": count for kind, count in failures.items()}
        counts["cost_usd"] = counts.pop("nano_usd") / NANO
        return {name: float(value) for name, value in counts.items()}

    def metrics(self) -> dict[str, float]:
        """As ``totals``, for a run's metrics: the mean latency of a call instead of the sum."""
        counts = self.totals()
        total, calls = counts.pop("latency_s"), counts["calls"]
        return {**counts, "mean_latency_s": total / calls if calls else 0.0}
