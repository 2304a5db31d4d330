"""Asking teachers about the coming prompts while the current step still runs.

::

    ahead = Prefetch(gateway, upcoming=batches, num_actions=1, params=params, batches_ahead=2)
    for batch in batches:
        rows = ahead.propose(batch, 1, params)   # mostly from the cache by now

A thread walks through ``upcoming`` and has the gateway buy what is missing, never more than
``batches_ahead`` batches before the step: bounded in memory, and what it may waste is bounded too.
It reserves from the gateway's own budget. What was fetched and then not asked for is *waste*, and
is counted. With a gate that decides by the policy's own result whether a teacher is asked at all
(``on_failure``), prefetching buys actions that may never be used: it is refused unless
``accept_waste`` is set.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ekipl_lab.errors import BudgetExceeded, ConfigError, EKIPLError
from ekipl_lab.sources.gateway import Gateway
from ekipl_lab.types import Action, Capabilities, GenerationParams, Sample

log = logging.getLogger("ekipl_lab.prefetch")

#: Gates that need the policy's result first.
GATES_AFTER_POLICY = ("on_failure",)


@dataclass(frozen=True, slots=True)
class PrefetchReport:
    """Samples fetched ahead, those then asked for, and actions bought for nothing so far."""

    fetched: int
    used: int
    wasted_actions: int
    stopped: str


class Prefetch:
    """An ActionSource around a gateway; see the module's docstring.

    ``upcoming`` yields the batches that will be proposed for, in order. ``close`` (or leaving the
    context) ends the thread after the batch it is buying.
    """

    def __init__(
        self,
        gateway: Gateway,
        upcoming: Iterable[Sequence[Sample]],
        *,
        num_actions: int,
        params: GenerationParams,
        batches_ahead: int = 1,
        gate: str = "",
        accept_waste: bool = False,
    ) -> None:
        if batches_ahead < 1:
            raise ConfigError(f"batches_ahead must be at least 1, not {batches_ahead}.")
        if gate in GATES_AFTER_POLICY and not accept_waste:
            raise ConfigError(
                f"Prefetch with the gate {gate!r} buys actions that may not be used; turn it off, "
                "or set accept_waste to have the waste counted."
            )
        self.gateway = gateway
        self._upcoming: Iterator[Sequence[Sample]] = iter(upcoming)
        self._num_actions, self._params = num_actions, params
        self._room = threading.Semaphore(batches_ahead)
        self._lock = threading.Lock()
        self._waiting: dict[str, int] = {}  # fetched and not asked for yet: actions bought
        self._fetched = self._used = self._steps = 0
        self._stopped = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    @property
    def id(self) -> str:
        """The teacher's id."""
        return self.gateway.id

    @property
    def capabilities(self) -> Capabilities:
        """Those of the gateway."""
        return self.gateway.capabilities

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """As the gateway; what was fetched ahead comes from the cache."""
        with self._lock:
            self._steps += 1
            asked = [self._waiting.pop(sample.id, None) for sample in samples]
            self._used += sum(fetched is not None for fetched in asked)
        self._room.release()
        return self.gateway.propose(samples, num_actions, params)

    def report(self) -> PrefetchReport:
        """Counts so far; ``stopped`` says why fetching ended early, if it did."""
        with self._lock:
            wasted = sum(self._waiting.values())
            return PrefetchReport(self._fetched, self._used, wasted, self._stopped)

    def close(self) -> None:
        """End the thread and wait for it."""
        self._closing.set()
        self._room.release()
        self._thread.join()

    def __enter__(self) -> Prefetch:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _work(self) -> None:
        for number, batch in enumerate(self._upcoming):
            self._room.acquire()
            if self._closing.is_set():
                return
            try:
                self._fetch(number, batch)
            except BudgetExceeded as error:
                self._stopped = f"budget: {error}"
                return
            except EKIPLError as error:  # the step itself will meet it, and decide
                self._stopped = str(error)
                log.warning("prefetch of %s stopped: %s", self.id, error)
                return

    def _fetch(self, number: int, batch: Sequence[Sample]) -> None:
        missing = self.gateway.missing(batch, self._num_actions, self._params)
        with self._lock:  # before buying: the step may ask for them while they are in flight
            if number >= self._steps:
                self._waiting |= Counter(call.sample_id for call in missing)
                self._fetched += len({call.sample_id for call in missing})
        self.gateway.prefetch(batch, self._num_actions, self._params)
