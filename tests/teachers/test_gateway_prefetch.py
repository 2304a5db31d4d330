"""Prefetch: the coming prompts, no further than expected, and what was bought for nothing."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from api_kit import PARAMS, api_gateway, numbered
from fault_server import FaultServer

from ekipl_lab.errors import BudgetExceeded
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.teachers.gateway.limits import Budget
from ekipl_lab.teachers.gateway.prefetch import Prefetch

BATCHES = [[numbered(4 * b + i) for i in range(4)] for b in range(5)]


def until(condition: Callable[[], object]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def expect(ahead: Prefetch, *numbers: int, actions: int = 1) -> None:
    ahead.expect({number: (BATCHES[number], actions, PARAMS) for number in numbers})


def counts(gateway: Gateway) -> tuple[int, int, int]:
    stats = gateway.stats
    return stats.prefetched, stats.prefetch_used, stats.prefetch_wasted


def test_it_buys_what_is_expected_and_nothing_else(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        api_gateway(server.url, tmp_path) as gateway,
        Prefetch(gateway) as ahead,
    ):
        expect(ahead, 0, 1, actions=2)
        until(lambda: counts(gateway) == (16, 0, 0))
        assert server.tally.received == 16  # two batches, and no further
        gateway.propose(BATCHES[0], 2, PARAMS)
        assert counts(gateway) == (16, 8, 0)
        expect(ahead, 1, 2, actions=2)
        until(lambda: counts(gateway) == (24, 8, 0))
        for number in (1, 2, 3, 4):
            expect(ahead, *range(number, min(number + 2, 5)), actions=2)
            rows = gateway.propose(BATCHES[number], 2, PARAMS)
            assert [len(row) for row in rows] == [2] * 4
        assert server.tally.received == 40
        assert gateway.stats.failures.total() == 0
    fetched, used, wasted = counts(gateway)
    assert fetched == used and wasted == 0
    assert gateway.stats.metrics()["prefetched"] == fetched


def test_a_step_and_its_prefetch_at_once_buy_once(tmp_path: Path) -> None:
    with (
        FaultServer(latency=0.1) as server,
        api_gateway(server.url, tmp_path) as gateway,
        Prefetch(gateway) as ahead,
    ):
        for number, batch in enumerate(BATCHES):
            expect(ahead, *range(number, min(number + 2, 5)))
            gateway.propose(batch, 1, PARAMS)
        expect(ahead)
        assert server.tally.received == 20
    fetched, used, wasted = counts(gateway)
    assert fetched == used > 0 and wasted == 0


def test_waste_is_counted(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        api_gateway(server.url, tmp_path) as gateway,
        Prefetch(gateway) as ahead,
    ):
        expect(ahead, 0, 1)
        until(lambda: counts(gateway) == (8, 0, 0))
        gateway.propose(BATCHES[0][:1], 1, PARAMS)  # a gate asks about one of four
        expect(ahead, 1)
        assert counts(gateway) == (8, 1, 3)
        expect(ahead)
        assert counts(gateway) == (8, 1, 7)
        gateway.propose(BATCHES[1], 1, PARAMS)  # paid for, found in the cache; no longer expected
        assert counts(gateway) == (8, 1, 7) and server.tally.received == 8


def test_failures_are_not_counted_as_fetched(tmp_path: Path) -> None:
    with (
        FaultServer(script={1: ["400"] * 9}) as server,
        api_gateway(server.url, tmp_path, on_error="skip") as gateway,
        Prefetch(gateway) as ahead,
    ):
        expect(ahead, 0)
        until(lambda: counts(gateway) == (3, 0, 0))
        assert [len(row) for row in gateway.propose(BATCHES[0], 1, PARAMS)] == [1, 0, 1, 1]
        expect(ahead)
        assert counts(gateway) == (3, 3, 0)


def test_a_used_up_budget_ends_it_and_the_step_says_so(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        api_gateway(server.url, tmp_path, budget=Budget(calls=6)) as gateway,
        Prefetch(gateway) as ahead,
    ):
        expect(ahead, 0, 1, 2)
        until(lambda: ahead.stopped)
        assert ahead.stopped.startswith("budget: Teacher 't'")
        gateway.propose(BATCHES[0], 1, PARAMS)
        with pytest.raises(BudgetExceeded):
            gateway.propose(BATCHES[1], 1, PARAMS)
        assert server.tally.received == 6


def test_closing_sends_nothing_more_and_keeps_what_is_in_flight(tmp_path: Path) -> None:
    with (
        FaultServer(latency=0.2) as server,
        api_gateway(server.url, tmp_path, in_flight=2) as gateway,
    ):
        with Prefetch(gateway) as ahead:
            expect(ahead, 0, 1, 2, 3, 4)
            until(lambda: server.tally.in_flight == 2)
        sent = server.tally.received
        assert sent < 20
        assert gateway.ledger.summary().committed == len(gateway.cache) == sent
        assert not [t for t in threading.enumerate() if t.name == "prefetch"]
        assert len(gateway.propose(BATCHES[4], 1, PARAMS)) == 4  # the gateway itself goes on
