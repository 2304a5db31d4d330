"""Asking a teacher about the coming prompts while the current step still runs.

::

    with Prefetch(gateway) as ahead:
        for n, batch in enumerate(batches):
            ahead.expect({m: (batches[m], 1, params) for m in range(n, min(n + 2, len(batches)))})
            rows = gateway.propose(batch, 1, params)   # mostly from the cache by now

A thread has the gateway buy what is missing of the expected batches, in their order, and nothing
else: what the caller expects bounds memory, and what can be bought in vain. It reserves from
the gateway's own budget. What was bought ahead and not asked for by the time its batch is no
longer expected is *waste*; ``gateway.stats`` counts what was fetched, used, and wasted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Mapping, Sequence

from ekipl_lab.errors import BudgetExceeded
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.types import GenerationParams, Sample

log = logging.getLogger("ekipl_lab.prefetch")

#: The samples of a batch, and the number of actions and the parameters they will be asked with.
Batch = tuple[Sequence[Sample], int, GenerationParams]


class Prefetch:
    """Fetches ahead for one gateway; see the module's docstring.

    ``close`` (or leaving the context) sends nothing more, and waits for the requests in flight:
    they are paid for. ``stopped`` says why fetching ended early, if it did; the step will meet the
    same trouble itself, and decide.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.stopped = gateway, ""
        self._expected: dict[Hashable, Batch] = {}
        self._begun: dict[Hashable, list[str]] = {}  # batch -> keys that were bought for it
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def expect(self, batches: Mapping[Hashable, Batch]) -> None:
        """These batches come next, in this order; one that is missing now is over."""
        with self._changed:
            over = [number for number in self._begun if number not in batches]
            for number in over:
                self.gateway.forget(self._begun.pop(number))
            self._expected = dict(batches)
            self._changed.notify()

    def close(self) -> None:
        """End the thread and wait for it; what was bought and not asked for by now is waste."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join()
        for keys in self._begun.values():
            self.gateway.forget(keys)
        self._begun = {}

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> Hashable | None:
        """The first expected batch that was not begun, once there is one; None when closing."""
        with self._changed:
            while not self._closing.is_set():
                for number in self._expected:
                    if number not in self._begun:
                        self._begun[number] = []
                        return number
                self._changed.wait()
        return None

    def _work(self) -> None:
        while (number := self._next()) is not None:
            try:
                self._fetch(number)
            except Exception as error:  # a thread must not die unseen
                kind = "budget" if isinstance(error, BudgetExceeded) else type(error).__name__
                self.stopped = f"{kind}: {error}"
                log.warning("prefetch of %s stopped: %s", self.gateway.id, self.stopped)
                return

    def _fetch(self, number: Hashable) -> None:
        with self._changed:
            batch = self._expected.get(number)
        if batch is None:  # over before it was begun
            return
        keys = self.gateway.prefetch(*batch, stop=self._closing)
        with self._changed:
            if number in self._begun:
                self._begun[number] = keys
            else:
                self.gateway.forget(keys)
