"""The gateway against the project's own fault server: own answers, or a named error, paid once."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_kit import PARAMS, api_gateway, evidence, numbered
from fault_server import FaultServer
from paths import ROOT

from ekipl_lab.errors import BudgetExceeded, ConfigError, TeacherError
from ekipl_lab.parsing import parse_completion
from ekipl_lab.teachers.build import teacher_spec
from ekipl_lab.teachers.gateway.limits import Budget
from ekipl_lab.teachers.gateway.pricing import Price
from ekipl_lab.teachers.gateway.send import next_pause
from ekipl_lab.teachers.gateway.spec import GatewaySpec
from ekipl_lab.teachers.gateway.types import CallError, Failure, action_key
from ekipl_lab.types import Action, ActionSource

PRICE = Price(input=1.0, cached_input=0.5, output=2.0, image_tokens=50)


def answers(rows: list[list[Any]]) -> list[list[str | None]]:
    return [[parse_completion(action.completion).answer for action in row] for row in rows]


def test_actions_are_bought_once_and_then_come_from_the_cache(tmp_path: Path) -> None:
    samples = [numbered(i) for i in range(20)]
    with FaultServer() as server:
        with api_gateway(server.url, tmp_path, price=PRICE) as gateway:
            assert isinstance(gateway, ActionSource)
            first = gateway.propose(samples, 2, PARAMS)
            again = gateway.propose(samples, 2, PARAMS)
            metrics = gateway.stats.metrics()
        assert server.tally.received == 40
    assert answers(first) == [[str(i)] * 2 for i in range(20)]
    action = first[3][0]
    assert (action.source, action.model_id, action.finish_reason) == ("t", "m-served", "stop")
    assert action.usage is not None
    # 90 fresh, 10 cached, 20 written: 90 + 5 + 40 millionths of a dollar
    assert (action.usage.prompt_tokens, action.usage.completion_tokens) == (100, 20)
    assert action.usage.cost == 135e-6
    assert not action.usage.cached and again[3][0].usage is not None
    assert again[3][0].usage.cached
    assert [[a.completion for a in row] for row in again] == [
        [a.completion for a in row] for row in first
    ]
    assert (metrics["calls"], metrics["cache_hits"], metrics["cached_tokens"]) == (40, 40, 400)
    assert metrics["cost_usd"] == pytest.approx(40 * 135e-6)


def test_equal_prompts_share_one_call_and_unlike_images_do_not(tmp_path: Path) -> None:
    twins = [numbered(1), numbered(1, id="test/twin"), numbered(1, images=2)]
    with FaultServer() as server, api_gateway(server.url, tmp_path) as gateway:
        rows = gateway.propose(twins, 1, PARAMS)
        assert server.tally.received == 2
    assert rows[0][0].completion == rows[1][0].completion
    assert "I see [1, 1001]" in rows[2][0].completion


def test_whatever_decides_the_answer_is_in_the_key(tmp_path: Path) -> None:
    from dataclasses import replace

    sample = numbered(1)
    variants: list[dict[str, Any]] = [
        {},
        {"model": "other"},
        {"temperature": 0.5},
        {"max_tokens": 7},
        {"instruction": "Be brief."},
        {"extra_body": {"seed": 1}},
        {"prompt": "hint"},
        {"logprobs": True},
    ]
    with FaultServer() as server:
        for spec in variants:
            with api_gateway(server.url, tmp_path, spec=spec) as gateway:
                gateway.propose([sample], 1, PARAMS)
                gateway.propose([sample], 1, replace(PARAMS, seed=9))
        assert server.tally.received == len(variants)
        with api_gateway(server.url, tmp_path, fresh_draws=True, spec={"id": "x"}) as gateway:
            gateway.propose([sample], 1, replace(PARAMS, seed=9))
            gateway.propose([sample], 1, replace(PARAMS, seed=10))
            gateway.propose([sample], 1, replace(PARAMS, seed=10))
        assert server.tally.received == len(variants) + 2


def test_every_part_of_a_call_is_in_its_key(tmp_path: Path) -> None:
    from dataclasses import replace

    with api_gateway("http://127.0.0.1:9", tmp_path) as gateway:
        call = gateway.adapter.call(numbered(1), PARAMS)
    same = action_key(call.parts(), 0)
    assert action_key(replace(call, sample_id="test/twin").parts(), 0) == same
    changes: list[dict[str, Any]] = [
        {"provider": "gemini"},
        {"model": "m2"},
        {"base_url": "http://127.0.0.1:10/v1"},
        {"messages": [*call.messages, *call.messages]},
        {"images": numbered(2).images},
        {"images": (*call.images, *call.images)},
        {"parameters": {**call.parameters, "top_p": 0.5}},
        {"prompt_version": "next"},
        {"max_tokens": 31},
    ]
    keys = [action_key(replace(call, **change).parts(), 0) for change in changes]
    keys += [same, action_key(call.parts(), 1), action_key(call.parts(), 0, attempt=1)]
    assert len(set(keys)) == len(changes) + 3


@pytest.mark.parametrize("several", [True, False])
def test_several_choices_of_one_request(tmp_path: Path, several: bool) -> None:
    with (
        FaultServer(several_choices=several) as server,
        api_gateway(server.url, tmp_path, spec={"choices_per_request": 4}, price=PRICE) as gateway,
    ):
        (row,) = gateway.propose([numbered(5)], 4, PARAMS)
        assert answers([row]) == [["5"] * 4]
        assert server.tally.received == (1 if several else 4)
        summary = gateway.ledger.summary()
    usages = [action.usage for action in row if action.usage is not None]
    assert sum(usage.completion_tokens for usage in usages) == 80
    assert sum(usage.cost for usage in usages) == pytest.approx(summary.usd)
    assert len({action.completion for action in row}) == (4 if several else 1)


def check_run(gateway: Any, server: FaultServer, rows: list[list[Any]]) -> None:
    """Everyone has an own answer or a named error, and the books are right."""
    for number, row in enumerate(rows):
        for outcome in row:
            if isinstance(outcome, Failure):
                assert outcome.sample_id == f"test/s{number}"
                assert outcome.kind and outcome.message
            elif outcome.finish_reason == "stop":
                assert parse_completion(outcome.completion).answer == str(number)
                assert f"I see [{number}]" in outcome.completion
            else:
                assert outcome.finish_reason == "length"
                assert parse_completion(outcome.completion).answer is None
    check_books(gateway, server)


def check_books(gateway: Any, server: FaultServer) -> None:
    summary, tally = gateway.ledger.summary(), server.tally
    assert summary.committed <= tally.billed <= summary.committed + summary.unresolved
    assert tally.received <= summary.intents
    assert summary.intents == summary.committed + summary.unresolved + summary.refused


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini"])
def test_thirty_percent_faults(tmp_path: Path, count: int, kind: str) -> None:
    seed = 20261122
    samples = [numbered(i) for i in range(count)]
    with (
        FaultServer(seed=seed, rate=0.3, hold=4.0) as server,
        api_gateway(
            server.url, tmp_path, kind, on_error="skip", timeout=1.5, in_flight=32
        ) as gateway,
    ):
        rows = gateway.propose_each(samples, 1, PARAMS)
        check_run(gateway, server, rows)
        assert server.tally.received >= count
        assert sum(server.tally.faults.values()) - server.tally.faults["ok"] > count * 0.25
        assert len(server.tally.faults) == 12
        assert sum(isinstance(row[0], Action) for row in rows) >= count * 0.97
        billed = server.tally.billed
        again = gateway.propose_each(samples, 1, PARAMS)
        had = [row for row in rows if isinstance(row[0], Action)]
        assert len(had) <= sum(isinstance(row[0], Action) for row in again)
        assert server.tally.billed - billed <= 20 * (count - len(had))
        check_books(gateway, server)
        summary, tally = gateway.ledger.summary(), server.tally
        evidence(
            "30 % faults",
            shape=kind, samples=count, seed=seed, answered=len(had), requests=tally.received,
            faults=tally.faults.total() - tally.faults["ok"], committed=summary.committed,
            billed=tally.billed, unresolved=summary.unresolved,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("faults", "requests", "kind"),
    [
        (["429", "429_wait", "500", "ok"], 4, None),
        (["reset", "cut_off", "schema", "ok"], 4, None),
        (["empty", "refusal", "ok"], 3, None),
        (["empty"] * 9, 4, "empty"),
        (["refusal"] * 9, 4, "refusal"),
        (["500"] * 20, 9, "server"),
        (["400"], 1, "request"),
        (["quota"], 1, "quota"),
        (["redirect"], 1, "redirect"),
        (["401_echo"], 1, "key"),
    ],
)
def test_every_fault_by_hand(
    tmp_path: Path, faults: list[str], requests: int, kind: str | None
) -> None:
    with (
        FaultServer(script={3: faults}) as server,
        api_gateway(server.url, tmp_path, on_error="skip") as gateway,
    ):
        ((outcome,),) = gateway.propose_each([numbered(3)], 1, PARAMS)
        assert server.tally.received == requests
        if kind is None:
            assert isinstance(outcome, Action)
        else:
            assert isinstance(outcome, Failure)
            assert (outcome.kind, gateway.stats.failures[kind]) == (kind, 1)
        check_books(gateway, server)


def test_a_failure_aborts_with_the_sample_named_and_keeps_what_was_paid(tmp_path: Path) -> None:
    samples = [numbered(i) for i in range(6)]
    with FaultServer(script={4: ["400"] * 9}) as server:
        with (
            api_gateway(server.url, tmp_path, in_flight=2) as gateway,
            pytest.raises(TeacherError, match=r"'t' gave no action 0 for sample test/s4: request"),
        ):
            gateway.propose(samples, 1, PARAMS)
        kept = len(gateway_cache(tmp_path))
        assert kept == server.tally.billed >= 3


def gateway_cache(folder: Path) -> Any:
    from ekipl_lab.teachers.gateway.cache import ActionCache
    from ekipl_lab.teachers.gateway.cache_store import Store

    return ActionCache(Store(folder / "store.sqlite3"))


def test_waiting_outlasts_the_retries(tmp_path: Path) -> None:
    faults = ["500", "429", "reset"] * 5
    with FaultServer(script={1: faults}) as server:
        with api_gateway(
            server.url, tmp_path, on_error="wait", retries=0, max_wait=0.02
        ) as gateway:
            assert answers(gateway.propose([numbered(1)], 1, PARAMS)) == [["1"]]
        assert server.tally.received == 16


def test_pauses_by_hand() -> None:
    import random

    spec, rng = GatewaySpec(retries=2, backoff=1.0, max_wait=30.0), random.Random(0)
    asked = CallError("rate_limit", "x", wait=7.5)
    assert next_pause(asked, 1, spec, rng) == 7.5
    assert next_pause(asked, 3, spec, rng) is None
    assert next_pause(CallError("rate_limit", "x", wait=31.0), 1, spec, rng) is None
    assert next_pause(CallError("key", "x", retryable=False), 1, spec, rng) is None
    second = [next_pause(CallError("server", "x"), 2, spec, rng) or 0.0 for _ in range(200)]
    assert 1.0 <= min(second) < 1.1 and 1.9 < max(second) <= 2.0
    patient = spec.model_copy(update={"on_error": "wait"})
    assert next_pause(CallError("rate_limit", "x", wait=31.0), 99, patient, rng) == 31.0
    assert next_pause(CallError("key", "x", retryable=False), 1, patient, rng) is None
    assert (next_pause(CallError("server", "x"), 99, patient, rng) or 0.0) <= 30.0


@pytest.mark.parametrize("on_budget", ["abort", "skip"])
def test_a_budget_stops_cleanly(tmp_path: Path, on_budget: str) -> None:
    samples = [numbered(i) for i in range(12)]
    with FaultServer() as server:
        with api_gateway(
            server.url, tmp_path, budget=Budget(calls=5), on_budget=on_budget, in_flight=3
        ) as gateway:
            if on_budget == "abort":
                with pytest.raises(BudgetExceeded, match=r"account 't' does not cover sample test"):
                    gateway.propose(samples, 1, PARAMS)
            else:
                rows = gateway.propose_each(samples, 1, PARAMS)
                kinds = [row[0].kind for row in rows if isinstance(row[0], Failure)]
                assert kinds == ["budget"] * 7
                with api_gateway(server.url, tmp_path, on_budget="skip", offline=True) as replay:
                    again = replay.propose(samples, 1, PARAMS)
                assert [len(row) for row in again] == [isinstance(r[0], Action) for r in rows]
            assert gateway.ledger.summary().committed == 5
        assert server.tally.received == 5


def test_a_money_budget_is_never_passed(tmp_path: Path) -> None:
    samples = [numbered(i) for i in range(20)]
    # reserved for a call: bytes of the prompt + 50 for the image + 64, and 32 written tokens
    with FaultServer() as server:
        with (
            api_gateway(server.url, tmp_path, price=PRICE, budget=Budget(usd=0.002)) as gateway,
            pytest.raises(BudgetExceeded, match="money"),
        ):
            gateway.propose(samples, 1, PARAMS)
        spent = server.tally.billed * 135e-6
        reserved = (len(gateway.adapter.call(samples[0], PARAMS).text) + 50 + 64 + 2 * 32) * 1e-6
        assert 0.002 - reserved < spent <= 0.002


def test_rates_slow_down_and_do_not_lose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ekipl_lab.teachers.gateway.limits.WINDOW_SECONDS", 0.5)
    monkeypatch.setattr("ekipl_lab.teachers.gateway.ledger.WINDOW_SECONDS", 0.5)
    samples = [numbered(i) for i in range(10)]
    with FaultServer() as server:
        with api_gateway(server.url, tmp_path, requests_per_minute=4) as gateway:
            assert answers(gateway.propose(samples, 1, PARAMS)) == [[str(i)] for i in range(10)]
            with gateway.store.read() as db:
                sent = [row[0] for row in db.execute("SELECT sent FROM calls ORDER BY sent")]
        assert server.tally.received == 10
    assert all(later - early >= 0.5 for early, later in zip(sent, sent[4:], strict=False))
    assert gateway.stats.waited_s > 0


def test_in_flight_bounds_the_requests(tmp_path: Path) -> None:
    samples = [numbered(i) for i in range(12)]
    with FaultServer(latency=0.3) as server:
        with api_gateway(server.url, tmp_path, in_flight=3) as gateway:
            gateway.propose(samples, 1, PARAMS)
        assert server.tally.most_in_flight == 3


def test_two_threads_that_want_the_same_buy_it_once(tmp_path: Path) -> None:
    samples = [numbered(i) for i in range(10)]
    with FaultServer(latency=0.05) as server, api_gateway(server.url, tmp_path) as gateway:
        results: list[Any] = []
        threads = [
            threading.Thread(target=lambda: results.append(gateway.propose(samples, 1, PARAMS)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.tally.received == 10
    assert [answers(rows) for rows in results] == [[[str(i)] for i in range(10)]] * 3


def test_offline_replays_the_same_actions_and_names_what_is_missing(tmp_path: Path) -> None:
    samples = [numbered(i) for i in range(8)]
    script = {2: ["empty", "ok"], 5: ["refusal"] * 9}
    with FaultServer(script=script) as server:
        with api_gateway(server.url, tmp_path, on_error="skip") as gateway:
            online = gateway.propose(samples, 2, PARAMS)
        url = server.url
    with api_gateway(url, tmp_path, on_error="skip", offline=True) as gateway:
        offline = gateway.propose(samples, 2, PARAMS)
        assert [len(row) for row in offline] == [2, 2, 2, 2, 2, 0, 2, 2]
        assert [[a.completion for a in row] for row in offline] == [
            [a.completion for a in row] for row in online
        ]
        with pytest.raises(TeacherError, match=r"action 0 for sample test/s99: not_cached"):
            gateway.propose([numbered(99)], 1, PARAMS)
    with pytest.raises(ConfigError, match="offline, but there is no store"):
        api_gateway(url, tmp_path / "elsewhere", offline=True)


def test_a_damaged_row_is_bought_again_and_an_offline_one_refused(tmp_path: Path) -> None:
    sample = numbered(1)
    with FaultServer() as server:
        with api_gateway(server.url, tmp_path) as gateway:
            gateway.propose([sample], 1, PARAMS)
            with gateway.store.write() as db:
                db.execute("UPDATE actions SET value = replace(value, 'answer>1', 'answer>7')")
            with (
                api_gateway(server.url, tmp_path, offline=True) as offline,
                pytest.raises(TeacherError, match="not_cached"),
            ):
                offline.propose([sample], 1, PARAMS)
            assert answers(gateway.propose([sample], 1, PARAMS)) == [["1"]]
            assert gateway.cache.refused_rows == 1
        assert server.tally.received == 2


def test_an_interrupt_keeps_what_was_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [numbered(i) for i in range(12)]
    with FaultServer(latency=0.2) as server:
        with api_gateway(server.url, tmp_path, in_flight=4) as gateway:
            take, taken = gateway._buyer._take, []

            def interrupted(*args: Any) -> None:
                take(*args)
                taken.append(1)
                if len(taken) == 1:
                    raise KeyboardInterrupt

            monkeypatch.setattr(gateway._buyer, "_take", interrupted)
            with pytest.raises(KeyboardInterrupt):
                gateway.propose(samples, 1, PARAMS)
            summary = gateway.ledger.summary()
            assert summary.committed == server.tally.billed < 12
            assert summary.unresolved == 0
            assert answers(gateway.propose(samples, 1, PARAMS)) == [[str(i)] for i in range(12)]
        assert server.tally.received == 12


def test_the_raw_response_is_kept(tmp_path: Path) -> None:
    with FaultServer() as server, api_gateway(server.url, tmp_path) as gateway:
        gateway.propose([numbered(4)], 1, PARAMS)
        with gateway.store.read() as db:
            (text,) = db.execute("SELECT value FROM actions").fetchone()
            row = db.execute("SELECT finish_reason, cached_tokens, attempt FROM calls").fetchone()
    raw = json.loads(text)["choice"]["raw"]
    assert raw["choices"][0]["message"]["content"].endswith("<answer>4</answer>")
    assert raw["usage"]["prompt_tokens"] == 100
    assert row == ("stop", 10, 1)


def test_a_long_request_keeps_its_claim(tmp_path: Path) -> None:
    sample, now = numbered(1), [1000.0]
    with FaultServer(latency=3.0) as server, api_gateway(server.url, tmp_path) as gateway:
        other = gateway_cache(tmp_path)
        other._clock = gateway.cache._clock = lambda: now[0]
        gateway.cache.lease = 0.3  # renewed every tenth of a second, by another clock than ours
        key = action_key(gateway.adapter.call(sample, PARAMS).parts(), 0)
        thread = threading.Thread(target=gateway.propose, args=([sample], 1, PARAMS))
        thread.start()
        renewed, last = 0, 0.0
        while thread.is_alive():
            with gateway.store.read() as db:
                row = db.execute("SELECT expires FROM claims WHERE key = ?", (key,)).fetchone()
            if row and row[0] > last:
                assert other.claim([key]).busy or other.get_many([key])
                renewed, last = renewed + 1, row[0]
                now[0] = last - 0.01  # a moment before the claim would end
            time.sleep(0.01)
        assert renewed >= 3
        assert server.tally.received == 1


def test_it_works_where_an_event_loop_runs_as_in_a_notebook(tmp_path: Path) -> None:
    async def cell(gateway: Any) -> Any:
        return gateway.propose([numbered(1)], 1, PARAMS)

    with FaultServer() as server, api_gateway(server.url, tmp_path) as gateway:
        assert answers(asyncio.run(cell(gateway))) == [["1"]]


def test_the_config_of_the_documentation_is_valid() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    block = page.split("```yaml\n")[1].split("```")[0]
    specs = [teacher_spec(raw) for raw in yaml.safe_load(block)["teachers"]]
    assert [spec.type for spec in specs] == [
        "openai",
        "openai",
        "anthropic",
        "gemini",
        "local",
        "ensemble",
    ]
    assert specs[-1].actions == 4
