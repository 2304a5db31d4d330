"""One request through its life: wait for a turn, reserve, send, commit; or fail, and again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from ekipl_lab.teachers.gateway.cache import ActionCache, Value
from ekipl_lab.teachers.gateway.ledger import Intent, Ledger, Spent, Wait
from ekipl_lab.teachers.gateway.limits import NANO
from ekipl_lab.teachers.gateway.pricing import Price, tokens_at_most
from ekipl_lab.teachers.gateway.spec import GatewaySpec
from ekipl_lab.teachers.gateway.stats import GatewayStats
from ekipl_lab.teachers.gateway.types import (
    Adapter,
    Call,
    CallError,
    Reply,
    TokenUsage,
    stopped,
    to_value,
)

log = logging.getLogger("ekipl_lab.gateway")

#: An own pause (the server named none) is never longer than this.
MAX_BACKOFF_SECONDS = 60.0
#: No call reads or writes so many.
MOST_TOKENS = 10**9
#: Nor is a prompt so many times longer than its upper bound, which knows images by their price.
MOST_TIMES = 100


def next_pause(
    error: CallError, attempt: int, spec: GatewaySpec, rng: random.Random
) -> float | None:
    """Seconds to pause before attempt ``attempt + 1``, or None if there is to be none.

    The server's own waiting time is kept to exactly; one longer than ``max_wait`` ends the
    attempts. Otherwise ``backoff * 2^(attempt - 1)``, shortened at random by up to a half.
    """
    if not error.retryable:
        return None
    patient = spec.on_error == "wait"
    if attempt > spec.retries and not patient:
        return None
    if error.wait is not None and (error.wait <= spec.max_wait or patient):
        return error.wait
    if error.wait is not None:
        return None
    full = min(spec.backoff * 2.0 ** min(attempt - 1, 30), MAX_BACKOFF_SECONDS, spec.max_wait)
    return full * (1.0 - 0.5 * rng.random())


class Sender:
    """Sends requests for one gateway; called from many threads.

    ``stop`` set: nothing new is sent, whoever waits gives up with the kind ``stopped``, and
    requests in flight end as usual, so that what is paid for is kept.
    """

    def __init__(
        self,
        adapter: Adapter,
        spec: GatewaySpec,
        ledger: Ledger,
        cache: ActionCache,
        price: Price,
        stats: GatewayStats,
    ) -> None:
        self._adapter, self._spec, self._ledger = adapter, spec, ledger
        self._cache, self._price, self._stats = cache, price, stats
        self._not_before = 0.0
        self._rng = random.Random()

    def ask(self, call: Call, keys: Sequence[str], stop: threading.Event) -> dict[str, Value]:
        """Committed answers by key; fewer than asked if the server made fewer choices.

        Raises CallError when the attempts are used up, BudgetExceeded when the budget is.
        """
        attempt = 1
        while True:
            try:
                return self._attempt(call, keys, attempt, stop)
            except CallError as error:
                pause = next_pause(error, attempt, self._spec, self._rng)
                if error.kind != "stopped":
                    self._stats.add(error=error.kind, retries=pause is not None)
                if pause is None:
                    raise
                if error.kind == "rate_limit":  # it holds for all threads, not for this one alone
                    self._not_before = max(self._not_before, time.monotonic() + pause)
            self._sleep(pause, stop)
            attempt += 1

    def _attempt(
        self, call: Call, keys: Sequence[str], attempt: int, stop: threading.Event
    ) -> dict[str, Value]:
        most = most_usage(call, len(keys), self._price)
        number = self._reserve(call, keys, attempt, stop, most)
        started = time.monotonic()
        try:
            reply = self._adapter.send(call, len(keys), self._spec.timeout)
        except CallError as error:
            self._ledger.fail(
                number,
                f"{error.kind}: {error}",
                maybe_billed=error.maybe_billed,
                latency=time.monotonic() - started,
            )
            raise
        spoke = any(choice.text or choice.reasoning for choice in reply.choices)
        odd, counted = doubt(reply.usage, most, spoke=spoke), reply.usage.prompt is not None
        reply = replace(reply, usage=believable(reply.usage, most, spoke=spoke))
        spent = replace(self._spent(reply, time.monotonic() - started), error=odd)
        values = self._values(keys, reply, spent, counted=counted)
        self._ledger.commit(number, spent, values, self._cache)
        if odd:
            log.warning("%s, sample %s: %s", self._adapter.id, call.sample_id, odd)
        self._stats.add(
            calls=1,
            odd_usage=odd is not None,
            bought=len(values),
            prompt_tokens=spent.prompt_tokens,
            cached_tokens=spent.cached_tokens,
            completion_tokens=spent.completion_tokens,
            nano_usd=spent.nano_usd,
            latency_s=spent.latency,
        )
        return values

    def _reserve(
        self,
        call: Call,
        keys: Sequence[str],
        attempt: int,
        stop: threading.Event,
        most: TokenUsage,
    ) -> int:
        """The number of a written intent, once rates and pauses allow it."""
        intent = Intent(
            teacher=self._adapter.id,
            model=call.model,
            sample_id=call.sample_id,
            keys=tuple(keys),
            attempt=attempt,
            tokens=sum(most.counts()),  # none of them is cached
            nano_usd=self._cost(most),
        )
        while True:
            if stop.is_set():
                raise stopped()
            while (pause := self._not_before - time.monotonic()) > 0:
                self._sleep(pause, stop)
            number = self._ledger.open(intent)
            if not isinstance(number, Wait):
                return number
            self._sleep(number.seconds, stop)

    def _sleep(self, seconds: float, stop: threading.Event) -> None:
        started = time.monotonic()
        ending = stop.wait(seconds)
        self._stats.add(waited_s=time.monotonic() - started)
        if ending:
            raise stopped()

    def _cost(self, usage: TokenUsage) -> int:
        return self._price.nano_usd(*usage.counts())

    def _spent(self, reply: Reply, latency: float) -> Spent:
        reasons = ",".join(choice.finish_reason for choice in reply.choices)
        return Spent(*reply.usage.counts(), self._cost(reply.usage), latency, reasons)

    def _values(
        self, keys: Sequence[str], reply: Reply, spent: Spent, *, counted: bool
    ) -> dict[str, Value]:
        """One cache value per choice; the prompt is charged to the first, the output evenly.

        Its tokens are None where the server has not ``counted`` them, whatever is booked.
        """
        choices = reply.choices[: len(keys)]
        shares = split_usage(reply.usage, len(choices))
        return {
            key: to_value(
                choice,
                share if counted else replace(share, prompt=None),
                reply.model,
                self._cost(share) / NANO,
                spent.latency,
            )
            for key, choice, share in zip(keys, choices, shares, strict=False)
        }


def most_usage(call: Call, choices: int, price: Price) -> TokenUsage:
    """The most tokens that a call can use, which is reserved before it is sent."""
    return TokenUsage(
        prompt=tokens_at_most(call.text, len(call.images), price),
        completion=call.max_tokens * choices,
    )


def believable(usage: TokenUsage, most: TokenUsage, *, spoke: bool = False) -> TokenUsage:
    """What a server says a call used; ``most`` of what it does not say, or if it cannot be.

    A server that leaves its usage out, or counts below zero, must not make a call free; nor one
    that counts no token of the prompt, or of an answer with words in it (``spoke``).
    """
    whole = _whole(usage, most)
    prompt, cached, completion = whole.counts()
    possible = 0 <= cached <= prompt and prompt > 0 and completion >= spoke
    return whole if possible and max(whole.counts()) < MOST_TOKENS else most


def _whole(said: TokenUsage, most: TokenUsage) -> TokenUsage:
    """With the most for each count that is missing."""
    return TokenUsage(
        most.prompt if said.prompt is None else said.prompt,
        said.cached,
        most.completion if said.completion is None else said.completion,
    )


def doubt(said: TokenUsage, most: TokenUsage, *, spoke: bool = False) -> str | None:
    """What to say of a count that is beyond anything a call can use, or that is missing beside
    another; None where nothing is odd.

    One that is possible at all is booked all the same: it may be on the bill.
    """
    if said.prompt is None and said.completion is None:
        return None
    whole = _whole(said, most)
    (prompt, _, completion), (most_prompt, _, most_completion) = whole.counts(), most.counts()
    read, written = ("no" if n is None else n for n in (said.prompt, said.completion))
    counts = f"{read} prompt and {written} completion tokens"
    limits = f"at most {most_prompt} and {most_completion} were expected"
    if believable(said, most, spoke=spoke) != whole:
        return f"the server counts {counts}, which cannot be: {limits}, and are booked"
    if None in (said.prompt, said.completion):
        return f"the server counts {counts}: {limits}, and are booked where it counts none"
    if completion > most_completion or prompt > MOST_TIMES * most_prompt:
        return f"the server counts {counts}, which are booked, though {limits}"
    return None


def split_usage(usage: TokenUsage, parts: int) -> list[TokenUsage]:
    """The tokens of one request shared among its choices; the sum stays."""
    prompt, cached, completion = usage.counts()
    each, rest = divmod(completion, parts)
    return [
        TokenUsage(
            prompt if part == 0 else 0,
            cached if part == 0 else 0,
            each + (1 if part < rest else 0),
        )
        for part in range(parts)
    ]
