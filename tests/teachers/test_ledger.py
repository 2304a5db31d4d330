"""The ledger: nothing is sent unreserved, nothing is used uncommitted, doubt counts as spent."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ekipl_lab.errors import BudgetExceeded, ConfigError, DataError
from ekipl_lab.teachers.gateway.cache import ActionCache
from ekipl_lab.teachers.gateway.cache_store import Store
from ekipl_lab.teachers.gateway.ledger import Intent, Ledger, Spent, Wait
from ekipl_lab.teachers.gateway.limits import Amounts, Budget, seconds_to_wait
from ekipl_lab.teachers.gateway.pricing import Price, load_prices, price_of
from ekipl_lab.teachers.gateway.send import most_usage
from ekipl_lab.teachers.gateway.types import Call, TokenUsage

INTENT = Intent("gpt", "m", "s/1", ("k1",), attempt=1, tokens=100, nano_usd=2000)
SPENT = Spent(20, 5, 10, nano_usd=700, latency=0.5, finish_reason="stop")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.sqlite3")


def opened(ledger: Ledger, intent: Intent = INTENT) -> int:
    call = ledger.open(intent)
    assert isinstance(call, int)
    return call


def test_an_intent_is_reserved_then_replaced_by_what_was_used(store: Store) -> None:
    ledger, cache = Ledger(store, "a"), ActionCache(store)
    call = opened(ledger)
    assert ledger.used() == Amounts(1, 100, 2000)
    assert [row["sample_id"] for row in ledger.unresolved()] == ["s/1"]
    ledger.commit(call, SPENT, {"k1": {"text": "2"}}, cache)
    assert ledger.used() == Amounts(1, 30, 700)
    assert cache.get_many(["k1"]) == {"k1": {"text": "2"}}
    summary = ledger.summary()
    assert (summary.intents, summary.committed, summary.unresolved) == (1, 1, 0)
    assert (summary.prompt_tokens, summary.cached_tokens, summary.completion_tokens) == (20, 5, 10)
    assert summary.usd == 7e-7


def test_what_was_refused_is_given_back_and_what_is_in_doubt_is_not(store: Store) -> None:
    ledger = Ledger(store, "a")
    ledger.fail(opened(ledger), "rate limit", maybe_billed=False)
    assert ledger.used() == Amounts(0, 0, 0)
    ledger.fail(opened(ledger), "time-out " * 100, maybe_billed=True)
    assert ledger.used() == Amounts(1, 100, 2000)
    (row,) = ledger.unresolved()
    assert row["error"] == ("time-out " * 100)[:500]
    summary = ledger.summary()
    assert (summary.intents, summary.refused, summary.unresolved) == (2, 1, 1)
    assert summary.unresolved_usd == 2e-6


def test_a_commit_that_fails_leaves_the_call_unresolved(store: Store) -> None:
    ledger, cache = Ledger(store, "a"), ActionCache(store)
    call = opened(ledger)
    with pytest.raises(ValueError, match="JSON"):
        ledger.commit(call, SPENT, {"k1": {"logprobs": float("nan")}}, cache)
    assert ledger.summary().unresolved == 1
    assert len(cache) == 0
    assert ledger.used() == Amounts(1, 100, 2000)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(calls=2), "calls: 2 of 2"),
        (Budget(tokens=299), "tokens: 200 of 299 are used, 100 more"),
        (Budget(usd=0.0000059), "money: 0.000004 of 0.000006 USD"),
    ],
)
def test_a_budget_covers_two_calls_and_refuses_the_third(
    store: Store, budget: Budget, words: str
) -> None:
    ledger = Ledger(store, "a", budget=budget)
    calls = [opened(ledger), opened(ledger)]
    assert isinstance(ledger.open(INTENT), Wait)  # what is in flight may end cheaper
    for call in calls:
        ledger.fail(call, "time-out", maybe_billed=True)
    with pytest.raises(BudgetExceeded, match=words) as caught:
        ledger.open(replace(INTENT, sample_id="s/3"))
    assert "s/3" in str(caught.value)
    assert ledger.summary().intents == 2
    assert isinstance(Ledger(store, "b", budget=budget).open(INTENT), int)


def test_a_budget_is_of_the_store_not_of_the_process(store: Store) -> None:
    first = Ledger(store, "a", budget=Budget(calls=1))
    first.fail(opened(first), "time-out", maybe_billed=True)
    again = Ledger(Store(store.path), "a", budget=Budget(calls=1))
    with pytest.raises(BudgetExceeded):
        again.open(INTENT)


def test_what_a_dead_process_had_in_flight_counts_as_spent(store: Store) -> None:
    first = Ledger(store, "a", budget=Budget(calls=1))
    opened(first)
    assert isinstance(first.open(INTENT), Wait)
    gone = f"{socket.gethostname()}:1:12345:dead"  # process 1 lives, but began at another time
    with store.write() as db:
        db.execute("UPDATE calls SET owner = ?", (gone,))
    with pytest.raises(BudgetExceeded):
        first.open(INTENT)


def test_a_budget_of_nothing_sends_nothing(store: Store) -> None:
    with pytest.raises(BudgetExceeded, match="calls: 0 of 0"):
        Ledger(store, "a", budget=Budget(calls=0)).open(INTENT)


def test_requests_per_minute_over_two_processes(store: Store) -> None:
    now = [1000.0]
    first, second = (
        Ledger(each, "a", requests_per_minute=2, clock=lambda: now[0])
        for each in (store, Store(store.path))
    )
    opened(first)
    now[0] = 1010.0
    opened(second)
    now[0] = 1015.0
    assert first.open(INTENT) == Wait(45.0)
    assert first.summary().intents == 2
    now[0] = 1060.0
    opened(first)
    assert second.open(INTENT) == Wait(10.0)


def test_tokens_per_minute_counts_what_was_used(store: Store) -> None:
    now = [1000.0]
    ledger = Ledger(store, "a", tokens_per_minute=150, clock=lambda: now[0])
    call = opened(ledger)
    assert ledger.open(INTENT) == Wait(60.0)
    ledger.commit(call, SPENT, {}, ActionCache(store))
    assert isinstance(ledger.open(INTENT), int)


def test_waiting_by_hand() -> None:
    recent = [(100.0, 40), (110.0, 50), (130.0, 10)]
    at = {"requests_per_minute": None, "tokens_per_minute": 120}
    assert seconds_to_wait(recent, 140.0, 20, **at) == 0.0
    assert seconds_to_wait(recent, 140.0, 21, **at) == 20.0
    assert seconds_to_wait(recent, 140.0, 100, **at) == 30.0
    assert seconds_to_wait(recent, 140.0, 500, **at) == 50.0
    assert seconds_to_wait([], 140.0, 500, **at) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 59), st.integers(0, 50)), max_size=8),
    st.integers(0, 60),
    st.integers(1, 5),
    st.integers(1, 100),
)
def test_after_the_wait_it_fits(
    sent: list[tuple[float, int]], tokens: int, rpm: int, tpm: int
) -> None:
    recent, now = sorted(sent), 59.5
    rates = {"requests_per_minute": rpm, "tokens_per_minute": tpm}
    later = now + seconds_to_wait(recent, now, tokens, **rates)
    left = [entry for entry in recent if entry[0] + 60.0 > later]
    assert seconds_to_wait(left, later, tokens, **rates) == 0.0
    assert len(left) < rpm
    assert not left or sum(amount for _, amount in left) + tokens <= tpm


IMAGE = Image.new("RGB", (2, 2))


def _said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}, {"type": "image"}]}]


def test_prices_by_hand() -> None:
    price = Price(input=2.5, cached_input=1.25, output=10.0, image_tokens=1000)
    # 900 fresh and 100 cached tokens read, 50 written: 2250 + 125 + 500 millionths of a dollar
    assert price.nano_usd(1000, 100, 50) == 2_875_000
    assert Price(input=0.075, output=0.0).nano_usd(1, 0, 0) == 75
    assert Price(input=0.0001, output=0.0).nano_usd(1, 0, 0) == 1  # rounded up, never down
    call = Call("s", "p", "m", "", _said("zwölf"), (IMAGE, IMAGE), {}, "1", max_tokens=32)
    assert most_usage(call, 3, price) == TokenUsage(6 + 2000 + 64, 0, 96)


def test_the_price_file_and_where_it_does_not_reach() -> None:
    prices = load_prices()
    assert prices.date == "2026-06-21"
    assert prices.get("openai", "gpt-4o") == prices.get("openai", "gpt-4o-2024-08-06")
    assert prices.get("openai", "gpt-4o-mini") != prices.get("openai", "gpt-4o")
    assert prices.get("openai", "gpt-4o-audio") is None
    free = price_of("openai", "own", stated=None, local=True, teacher="t")
    assert free.nano_usd(10**6, 0, 10**6) == 0
    with pytest.raises(ConfigError, match=r"no price for openai model 'own' in prices\.yaml"):
        price_of("openai", "own", stated=None, local=False, teacher="t")


def test_a_broken_price_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("date: 2026-01-01\nsource: x\nusd_per_million_tokens: {p: {m: {input: -1}}}\n")
    with pytest.raises(DataError, match=r"prices\.yaml is not usable"):
        load_prices(path)
