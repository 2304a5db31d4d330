"""Buying many answers at once, each of them once.

Within this process a key that some thread is buying is waited for; between processes a claim in
the store does the same. Requests run in a pool of threads; the calling thread hands out work,
takes in results, prolongs claims and looks for what other processes bring.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ekipl_lab.errors import BudgetExceeded
from ekipl_lab.teachers.gateway.cache import ActionCache, Value
from ekipl_lab.teachers.gateway.types import Call, CallError, stopped

Outcome = Value | Exception
Ask = Callable[[Call, Sequence[str], threading.Event], dict[str, Value]]

#: Seconds between two looks at what another process is buying.
POLL_SECONDS = 0.05


@dataclass(slots=True)
class _Batch:
    """One purchase under way. ``mine``: claimed, not yet settled; ``asking``: tasks handed out."""

    calls: Mapping[str, Call]
    stop_on: Callable[[Exception], bool]
    got: dict[str, Outcome] = field(default_factory=dict)
    mine: set[str] = field(default_factory=set)
    busy: list[str] = field(default_factory=list)
    asking: int = 0
    done: queue.SimpleQueue[tuple[list[str], dict[str, Value] | BaseException]] = field(
        default_factory=queue.SimpleQueue
    )
    stop: threading.Event = field(default_factory=threading.Event)
    renewed: float = field(default_factory=time.monotonic)
    looked: float = field(default_factory=time.monotonic)


class Buyer:
    """Buys answers through ``ask``, ``in_flight`` requests at a time."""

    def __init__(self, cache: ActionCache, ask: Ask, max_choices: int, in_flight: int) -> None:
        self._cache, self._ask, self._max_choices = cache, ask, max_choices
        self._in_flight = in_flight
        self._lock = threading.Lock()
        self._promised: dict[str, Future[Outcome]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0
        self._halted, self._stops = False, list[threading.Event]()

    def buy(
        self,
        calls: Mapping[str, Call],
        *,
        stop_on: Callable[[Exception], bool],
        stop: threading.Event | None = None,
        ahead: Callable[[list[str]], None] | None = None,
    ) -> dict[str, Outcome]:
        """The answer, or why there is none, for every key.

        After an error for which ``stop_on`` is true nothing more is sent for this batch; what was
        not sent fails with a CallError of the kind ``stopped``. The same happens when somebody else
        sets ``stop``. With ``ahead`` only what nobody else is buying is bought, and ``ahead`` gets
        these keys before anybody can have their answers.
        """
        self._start()
        own, others = self._promise(calls)
        if ahead is not None:
            others = {}
            ahead(own)
        batch = _Batch({key: calls[key] for key in own}, stop_on, stop=stop or threading.Event())
        if stop is None:
            self._run_until_halted(batch)
        else:
            self._run_and_settle(batch)
        got = dict(batch.got)
        for key, promise in others.items():
            outcome = promise.result()
            if isinstance(outcome, CallError) and outcome.kind == "stopped":
                outcome = self.buy({key: calls[key]}, stop_on=stop_on)[key]
            got[key] = outcome
        return got

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Within, purchases send nothing more (but those that have a ``stop`` of their own)."""
        with self._lock:
            self._halted = True
            for stop in self._stops:
                stop.set()
        try:
            yield
        finally:
            self._halted = False

    def close(self) -> None:
        """End the threads; requests in flight are waited for."""
        if self._pool is not None and self._pid == os.getpid():
            self._pool.shutdown(wait=True)
        self._pool = None

    def _start(self) -> None:
        with self._lock:
            if self._pool is None or self._pid != os.getpid():
                self._pid, self._promised = os.getpid(), {}
                self._pool = ThreadPoolExecutor(self._in_flight, thread_name_prefix="teacher")

    def _promise(self, calls: Mapping[str, Call]) -> tuple[list[str], dict[str, Future[Outcome]]]:
        """Keys this batch is to bring, and promises of other threads for the rest."""
        with self._lock:
            others = {key: self._promised[key] for key in calls if key in self._promised}
            own = [key for key in calls if key not in others]
            self._promised |= {key: Future() for key in own}
        return own, others

    def _settle(self, batch: _Batch) -> None:
        """Keep every promise, release every claim that is left."""
        try:
            if batch.mine:
                self._cache.release(batch.mine)
        finally:
            with self._lock:
                promises = [(key, self._promised.pop(key)) for key in batch.calls]
            for key, promise in promises:
                promise.set_result(batch.got.setdefault(key, stopped()))

    def _run_until_halted(self, batch: _Batch) -> None:
        with self._lock:
            self._stops.append(batch.stop)
            if self._halted:
                batch.stop.set()
        try:
            self._run_and_settle(batch)
        finally:
            with self._lock:
                self._stops.remove(batch.stop)

    def _run_and_settle(self, batch: _Batch) -> None:
        try:
            self._run(batch)
        finally:
            self._settle(batch)

    def _run(self, batch: _Batch) -> None:
        self._claim(batch, list(batch.calls))
        try:
            while batch.asking or batch.busy:
                self._step(batch)
        except BaseException:
            batch.stop.set()
            while batch.asking:  # what is in flight is paid for: take it in
                with suppress(Exception):
                    self._take(batch, *batch.done.get())
            raise

    def _step(self, batch: _Batch) -> None:
        """Take in one result, or look after claims when none comes for a while."""
        wait = POLL_SECONDS if batch.busy else self._cache.lease / 3
        with suppress(queue.Empty):
            self._take(batch, *batch.done.get(timeout=wait))
        now = time.monotonic()
        if now - batch.renewed > self._cache.lease / 3:
            self._cache.renew(batch.mine)
            batch.renewed = now
        if batch.stop.is_set():
            batch.busy = []
        elif batch.busy and now - batch.looked > POLL_SECONDS:
            self._claim(batch, batch.busy)
            batch.looked = now

    def _claim(self, batch: _Batch, keys: list[str]) -> None:
        claims = self._cache.claim(keys)
        batch.got |= claims.ready
        batch.busy = claims.busy
        batch.mine |= set(claims.mine)
        by_call: dict[int, list[str]] = {}
        for key in claims.mine:
            by_call.setdefault(id(batch.calls[key]), []).append(key)
        for mine in by_call.values():
            for start in range(0, len(mine), self._max_choices):
                self._hand_out(batch, mine[start : start + self._max_choices])

    def _hand_out(self, batch: _Batch, keys: list[str]) -> None:
        def task() -> None:
            try:
                if batch.stop.is_set():
                    raise stopped()
                batch.done.put((keys, self._ask(batch.calls[keys[0]], keys, batch.stop)))
            except BaseException as error:  # handed to the calling thread, whatever it is
                batch.done.put((keys, error))

        assert self._pool is not None
        batch.asking += 1
        self._pool.submit(task)

    def _take(
        self, batch: _Batch, keys: list[str], result: dict[str, Value] | BaseException
    ) -> None:
        batch.asking -= 1
        if isinstance(result, BaseException):
            self._take_error(batch, keys, result)
            return
        batch.got |= result
        batch.mine -= result.keys()
        for key in keys:  # a server that makes fewer choices than asked for is asked again
            if key not in result:
                self._hand_out(batch, [key])

    def _take_error(self, batch: _Batch, keys: list[str], error: BaseException) -> None:
        self._cache.release(keys)
        batch.mine -= set(keys)
        if not isinstance(error, CallError | BudgetExceeded):
            batch.stop.set()
            raise error
        batch.got |= dict.fromkeys(keys, error)
        if batch.stop_on(error):
            batch.stop.set()
