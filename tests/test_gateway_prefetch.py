"""Prefetch: the coming prompts, no further than allowed, and what was bought for nothing."""

import threading
import time
from pathlib import Path

import pytest
from api_kit import PARAMS, api_gateway, numbered
from fault_server import FaultServer

from ekipl_lab.errors import BudgetExceeded, ConfigError
from ekipl_lab.sources.limits import Budget
from ekipl_lab.sources.prefetch import Prefetch, PrefetchReport
from ekipl_lab.types import ActionSource

BATCHES = [[numbered(4 * b + i) for i in range(4)] for b in range(5)]


def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def test_it_stays_within_its_distance_and_serves_the_steps(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        api_gateway(server.url, tmp_path) as gateway,
        Prefetch(gateway, BATCHES, num_actions=2, params=PARAMS, batches_ahead=2) as ahead,
    ):
        assert isinstance(ahead, ActionSource)
        until(lambda: len(gateway.cache) == 16)
        assert server.tally.received == 16  # two batches, and no further
        assert ahead.report() == PrefetchReport(8, 0, 16, "")
        ahead.propose(BATCHES[0], 2, PARAMS)
        until(lambda: len(gateway.cache) == 24)
        assert ahead.report() == PrefetchReport(12, 4, 16, "")
        for batch in BATCHES[1:]:
            rows = ahead.propose(batch, 2, PARAMS)
            assert [len(row) for row in rows] == [2] * 4
        assert ahead.report().wasted_actions == 0
        assert server.tally.received == 40
        assert gateway.stats.failures.total() == 0


def test_a_step_and_its_prefetch_at_once_buy_once(tmp_path: Path) -> None:
    with (
        FaultServer(latency=0.1) as server,
        api_gateway(server.url, tmp_path) as gateway,
        Prefetch(gateway, BATCHES, num_actions=1, params=PARAMS) as ahead,
    ):
        for batch in BATCHES:
            ahead.propose(batch, 1, PARAMS)
        assert server.tally.received == 20


def test_waste_is_counted(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        api_gateway(server.url, tmp_path) as gateway,
        Prefetch(
            gateway,
            BATCHES,
            num_actions=1,
            params=PARAMS,
            batches_ahead=2,
            gate="on_failure",
            accept_waste=True,
        ) as ahead,
    ):
        until(lambda: len(gateway.cache) == 8)
        ahead.propose(BATCHES[0][:1], 1, PARAMS)  # the gate asks about one of four
        until(lambda: len(gateway.cache) == 12)
        assert ahead.report() == PrefetchReport(12, 1, 11, "")
        assert server.tally.received == 12


def test_a_gate_after_the_policy_is_refused(tmp_path: Path) -> None:
    before = threading.active_count()
    with FaultServer() as server, api_gateway(server.url, tmp_path) as gateway:
        with pytest.raises(ConfigError, match="gate 'on_failure' buys actions that may not"):
            Prefetch(gateway, BATCHES, num_actions=1, params=PARAMS, gate="on_failure")
        with pytest.raises(ConfigError, match="batches_ahead must be at least 1, not 0"):
            Prefetch(gateway, BATCHES, num_actions=1, params=PARAMS, batches_ahead=0)
    assert threading.active_count() <= before + 1


def test_a_used_up_budget_ends_it_and_the_step_says_so(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        api_gateway(server.url, tmp_path, budget=Budget(calls=6)) as gateway,
        Prefetch(gateway, BATCHES, num_actions=1, params=PARAMS, batches_ahead=2) as ahead,
    ):
        until(lambda: ahead.report().stopped)
        assert ahead.report().stopped.startswith("budget: Teacher 't'")
        ahead.propose(BATCHES[0], 1, PARAMS)
        with pytest.raises(BudgetExceeded):
            ahead.propose(BATCHES[1], 1, PARAMS)
        assert server.tally.received == 6
