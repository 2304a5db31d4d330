"""What a gateway did in this process, counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ekipl_lab.teachers.gateway.ledger import Spent
from ekipl_lab.teachers.gateway.limits import NANO


@dataclass(slots=True)
class GatewayStats:
    """Counters since the gateway was made; ``errors`` and ``failures`` by kind.

    An *error* is a request that failed, and was perhaps tried again; a *failure* is an action that
    could not be had in the end. ``waited`` is the seconds that threads spent waiting for a turn.
    ``prefetched`` actions were bought before anybody asked for them; ``prefetch_used`` of them were
    then asked for, ``prefetch_wasted`` were not while that was expected.
    """

    hits: int = 0
    bought: int = 0
    calls: int = 0
    retries: int = 0
    reasked: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    nano_usd: int = 0
    latency: float = 0.0
    waited: float = 0.0
    prefetched: int = 0
    prefetch_used: int = 0
    prefetch_wasted: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    _prefetcher: set[str] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answered(self, spent: Spent, choices: int) -> None:
        """One request was answered with so many choices."""
        with self._lock:
            self.calls += 1
            self.bought += choices
            self.prompt_tokens += spent.prompt_tokens
            self.cached_tokens += spent.cached_tokens
            self.completion_tokens += spent.completion_tokens
            self.nano_usd += spent.nano_usd
            self.latency += spent.latency

    def error(self, kind: str, *, retried: bool) -> None:
        """One request failed."""
        with self._lock:
            self.errors[kind] += 1
            self.retries += retried

    def count(self, *, hits: int = 0, reasked: int = 0, waited: float = 0.0) -> None:
        """Add to the counters of the same names."""
        with self._lock:
            self.hits += hits
            self.reasked += reasked
            self.waited += waited

    def fetch(self, keys: Iterable[str]) -> None:
        """These keys are being bought ahead."""
        with self._lock:
            self._prefetcher |= set(keys)

    def fetched(self, keys: Iterable[str], bought: Iterable[str]) -> None:
        """Of these keys, those were bought."""
        with self._lock:
            got = set(bought)
            self._prefetcher -= set(keys) - got
            self.prefetched += len(got)

    def use(self, keys: Iterable[str]) -> None:
        """The answers of these keys are used."""
        with self._lock:
            if self._prefetcher:
                used = self._prefetcher & set(keys)
                self._prefetcher -= used
                self.prefetch_used += len(used)

    def waste(self, keys: Iterable[str]) -> None:
        """What was bought ahead of these keys will not be used."""
        with self._lock:
            wasted = self._prefetcher & set(keys)
            self._prefetcher -= wasted
            self.prefetch_wasted += len(wasted)

    def failure(self, kind: str) -> None:
        """One action could not be had."""
        with self._lock:
            self.failures[kind] += 1

    def metrics(self) -> dict[str, float]:
        """Flat numbers for a run's metrics."""
        with self._lock:
            flat = {
                "calls": self.calls,
                "cache_hits": self.hits,
                "bought": self.bought,
                "retries": self.retries,
                "reasked": self.reasked,
                "prompt_tokens": self.prompt_tokens,
                "cached_tokens": self.cached_tokens,
                "completion_tokens": self.completion_tokens,
                "cost_usd": self.nano_usd / NANO,
                "mean_latency_s": self.latency / self.calls if self.calls else 0.0,
                "waited_s": self.waited,
                "errors": self.errors.total(),
                "failures": self.failures.total(),
                "prefetched": self.prefetched,
                "prefetch_used": self.prefetch_used,
                "prefetch_wasted": self.prefetch_wasted,
            }
            flat |= {f"failures_{kind}": count for kind, count in self.failures.items()}
        return {name: float(value) for name, value in flat.items()}
