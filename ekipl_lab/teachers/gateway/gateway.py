"""A gateway around any adapter: actions come from the cache, or are bought once, and kept.

::

    gateway = Gateway(OpenAIAdapter(spec))
    actions = gateway.propose(samples, 2, GenerationParams(max_new_tokens=256))
    print(gateway.stats.metrics(), gateway.ledger.summary())

All actions of a batch are asked for at once, ``in_flight`` requests at a time, from threads: it
works from plain code and from a notebook alike. Two threads or processes that want the same
action buy it once. Interrupted, it lets the requests in flight end and keeps what they bring.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ekipl_lab.errors import BudgetExceeded, ConfigError, TeacherError
from ekipl_lab.teachers.gateway.buy import Buyer, Outcome
from ekipl_lab.teachers.gateway.cache import ActionCache, cache_key
from ekipl_lab.teachers.gateway.cache_store import Store
from ekipl_lab.teachers.gateway.ledger import Ledger
from ekipl_lab.teachers.gateway.pricing import price_of
from ekipl_lab.teachers.gateway.send import Sender
from ekipl_lab.teachers.gateway.spec import GatewaySpec
from ekipl_lab.teachers.gateway.stats import GatewayStats
from ekipl_lab.teachers.gateway.types import Adapter, Call, CallError, Failure, action_key
from ekipl_lab.types import Action, GenerationParams, Sample

log = logging.getLogger("ekipl_lab.gateway")

BUDGET = "budget"  # the kind of a failure for want of budget


@dataclass(slots=True)
class _Slot:
    """One wanted action: which sample, which index, and how often it was asked."""

    row: int
    index: int
    call: Call
    parts: dict[str, Any]
    attempt: int = 0
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.key = action_key(self.parts, self.index, self.attempt)

    @property
    def skip_key(self) -> str:
        """Where it is noted that this action was skipped, so that a replay skips it too."""
        return cache_key({**self.parts, "index": self.index, "skipped": True})


class Gateway:
    """An ActionSource over an adapter; see the module's docstring.

    Raises ConfigError if the adapter's package, key or price is missing (none is needed offline).
    """

    def __init__(self, adapter: Adapter, spec: GatewaySpec | None = None) -> None:
        self.spec, self.adapter, self.stats = spec or GatewaySpec(), adapter, GatewayStats()
        self.id, self.capabilities = adapter.id, adapter.capabilities
        self.price = price_of(
            adapter.provider,
            adapter.model,
            stated=self.spec.price,
            local=adapter.local or self.spec.offline,
            teacher=adapter.id,
        )
        if not self.spec.offline:
            adapter.check()
        elif not self.spec.cache.is_file():
            raise ConfigError(
                f"Teacher {adapter.id!r} is offline, but there is no store {self.spec.cache}; "
                "record one with `ekipl teach precompute`, or fix `cache`."
            )
        self.store = Store(self.spec.cache)
        self.cache = ActionCache(self.store)
        self.ledger = Ledger(
            self.store,
            self.spec.account or adapter.id,
            budget=self.spec.budget,
            requests_per_minute=self.spec.requests_per_minute,
            tokens_per_minute=self.spec.tokens_per_minute,
        )
        sender = Sender(adapter, self.spec, self.ledger, self.cache, self.price, self.stats)
        self._buyer = Buyer(self.cache, sender.ask, adapter.max_choices, self.spec.in_flight)

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """``num_actions`` actions per sample, in order.

        With ``on_error: skip`` a sample has fewer where actions are missing (counted in
        ``stats.failures``). Otherwise raises TeacherError that names the sample, or BudgetExceeded.
        """
        outcomes = self.propose_each(samples, num_actions, params)
        return [[each for each in row if isinstance(each, Action)] for row in outcomes]

    def propose_each(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action | Failure]]:
        """As ``propose``, with a Failure in the place of every action that was skipped."""
        slots = self._slots(samples, num_actions, params)
        grid: list[list[Any]] = [[None] * num_actions for _ in samples]
        pending = slots
        while pending:
            pending = self._round(pending, grid)
        return grid

    def prefetch(
        self,
        samples: Sequence[Sample],
        num_actions: int,
        params: GenerationParams,
        stop: threading.Event | None = None,
    ) -> list[str]:
        """Buy what is missing for these samples; failures are left for ``propose`` to meet.

        Returns the keys of what was bought; ``stop`` set, nothing more is sent. Raises
        BudgetExceeded when the budget is used up.
        """
        slots = self._slots(samples, num_actions, params)
        wanted = {slot.key: slot.call for slot in slots}
        missing = wanted.keys() - self.cache.get_many(wanted).keys()
        if self.spec.offline or not missing:
            return []
        asked = {key: call for key, call in wanted.items() if key in missing}
        got: dict[str, Outcome] = {}
        bought: list[str] = []
        try:
            got = self._buyer.buy(asked, stop_on=_is_budget, stop=stop, ahead=self.stats.fetch)
            bought = [key for key, each in got.items() if not isinstance(each, Exception)]
        finally:
            self.stats.fetched(asked, bought)
        for outcome in got.values():
            if isinstance(outcome, BudgetExceeded):
                raise outcome
        return bought

    def forget(self, keys: Iterable[str]) -> None:
        """What was prefetched under these keys and not asked for since is counted as wasted."""
        self.stats.waste(keys)

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Within, ``propose`` sends nothing more, in whatever thread it runs: it ends with an error
        once the requests in flight have."""
        with self._buyer.halted():
            yield

    def missing(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[Call]:
        """The calls behind actions that the cache does not hold, one for each action."""
        slots = self._slots(samples, num_actions, params)
        held = self.cache.get_many([slot.key for slot in slots])
        return [slot.call for slot in slots if slot.key not in held]

    def close(self) -> None:
        """End the threads, close connections and store."""
        self._buyer.close()
        self.adapter.close()
        self.store.close()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _slots(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[_Slot]:
        slots = []
        for row, sample in enumerate(samples):
            call = self.adapter.call(sample, params)
            parts = call.parts()
            slots += [_Slot(row, index, call, parts) for index in range(num_actions)]
        return slots

    def _round(self, slots: list[_Slot], grid: list[list[Any]]) -> list[_Slot]:
        """Fill what can be filled; slots with unusable answers come back, to be asked anew."""
        held = self.cache.get_many([slot.key for slot in slots])
        self.stats.add(cache_hits=sum(slot.key in held for slot in slots))
        missing = [slot for slot in slots if slot.key not in held]
        outcomes = held | (self._offline(missing) if self.spec.offline else self._buy(missing))
        self.stats.use(key for key, each in outcomes.items() if not isinstance(each, Exception))
        again = []
        for slot in slots:
            outcome = outcomes[slot.key]
            if isinstance(outcome, Exception):
                grid[slot.row][slot.index] = self._failed(slot, outcome)
                continue
            try:
                action = self.adapter.action(outcome)
            except CallError as error:
                if slot.attempt < self.spec.reask:
                    again.append(replace(slot, attempt=slot.attempt + 1))
                else:
                    grid[slot.row][slot.index] = self._failed(slot, error)
                continue
            if slot.key in held and action.usage is not None:
                action = replace(action, usage=replace(action.usage, cached=True))
            grid[slot.row][slot.index] = action
        self.stats.add(reasked=len(again))
        return again

    def _buy(self, slots: list[_Slot]) -> dict[str, Outcome]:
        wanted = {slot.key: slot.call for slot in slots}
        return _with_cause(self._buyer.buy(wanted, stop_on=self._ends_the_run)) if wanted else {}

    def _offline(self, slots: list[_Slot]) -> dict[str, Outcome]:
        skipped = self.cache.get_many([slot.skip_key for slot in slots])
        absent = {
            "kind": "not_cached",
            "message": f"it is not in {self.spec.cache}, whole, and `offline` is set",
        }
        found: dict[str, Outcome] = {}
        for slot in slots:
            note = skipped.get(slot.skip_key, absent)
            note = note if self._skips(str(note["kind"])) else absent
            found[slot.key] = CallError(str(note["kind"]), str(note["message"]))
        return found

    def _ends_the_run(self, error: Exception) -> bool:
        """True if this error will be raised, so that nothing more need be sent."""
        if not isinstance(error, CallError):  # a used-up budget is met by every further call
            return True
        return self.spec.on_error != "skip" or error.kind == "not_cached"

    def _skips(self, kind: str) -> bool:
        """Whether a failure of this kind leaves the action out, rather than ending the run."""
        if kind == BUDGET:
            return self.spec.on_budget == "skip"
        return self.spec.on_error == "skip" and kind not in ("not_cached", "stopped")

    def _failed(self, slot: _Slot, error: Exception) -> Failure:
        """The Failure of a slot, counted; or the error, raised, where the policy says so."""
        if not isinstance(error, TeacherError):
            raise error
        kind = BUDGET if _is_budget(error) else str(getattr(error, "kind", "error"))
        sample_id = slot.call.sample_id
        self.stats.add(failure=kind)
        if not self._skips(kind):
            if _is_budget(error):
                raise error
            raise TeacherError(
                f"Teacher {self.id!r} gave no action {slot.index} for sample {sample_id}: "
                f"{kind}, {error}."
            )
        log.warning("%s: skipped sample %s, action %d: %s", self.id, sample_id, slot.index, error)
        if not self.spec.offline:
            self.cache.put({slot.skip_key: {"kind": kind, "message": str(error)}})
        return Failure(sample_id, slot.index, kind, str(error))


def _with_cause(got: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Give actions that were not asked for the error that ended the asking."""

    def stopped(outcome: Outcome) -> bool:
        return isinstance(outcome, CallError) and outcome.kind == "stopped"

    causes = [each for each in got.values() if isinstance(each, Exception) and not stopped(each)]
    budget_first = sorted(causes, key=_is_budget, reverse=True)
    return {
        key: budget_first[0] if causes and stopped(outcome) else outcome
        for key, outcome in got.items()
    }


def _is_budget(error: Exception) -> bool:
    return isinstance(error, BudgetExceeded)
