"""Servers that answer what no server should: counted, named, never free, and never a crash."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_kit import PARAMS, api_gateway, numbered
from fault_server import FaultServer
from test_gateway import PRICE, answers, check_books

from ekipl_lab.errors import BudgetExceeded
from ekipl_lab.evaluation.job import _cost
from ekipl_lab.teachers.adapters.http import read_json
from ekipl_lab.teachers.gateway.limits import Budget
from ekipl_lab.teachers.gateway.send import believable, doubt
from ekipl_lab.teachers.gateway.types import Failure, TokenUsage
from ekipl_lab.types import EvalRecord

WELL = "<think>One.</think><answer>1</answer>"
MOST = TokenUsage(300, 0, 32)
CACHED_BELOW_0 = {"cached_tokens": -1}


def openai(text: str = WELL, finish: str = "stop", **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"content": text}, "finish_reason": finish}
    return {"model": "m", "choices": [choice], **fields}


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"[" * 100_000, "cut_off"),
        (b'{"choices": NaN}', "cut_off"),
        (json.dumps(openai()).replace('"index": 0', '"index": 1e999').encode(), "cut_off"),
        (json.dumps(openai(usage={"prompt_tokens": 1})).replace(": 1}", ": Infinity}"), "cut_off"),
        (b"[]", "cut_off"),
        (b"\xff\xfe{}", "cut_off"),
        (b'{"choices": []}', "schema"),
        (json.dumps(openai(finish="error")), "schema"),
        (json.dumps(openai(finish="abort")), "schema"),
        (json.dumps(openai(finish="insufficient_system_resource")), "schema"),
        (b'{"choices": [{"message": {"content": 7}}]}', "schema"),
        (b'{"error": {"message": "upstream is down", "code": 502}}', "server"),
        (b'{"error": "upstream is down"}', "server"),
    ],
)
def test_it_is_a_counted_error_and_another_attempt(tmp_path: Path, raw: Any, kind: str) -> None:
    with (
        FaultServer(script={1: ["raw", "ok"], 2: ["raw"] * 9}) as server,
        api_gateway(server.url, tmp_path, on_error="skip", retries=2) as gateway,
    ):
        server.raw = raw if isinstance(raw, bytes) else raw.encode()
        (first,), (second,) = gateway.propose_each([numbered(1), numbered(2)], 1, PARAMS)
        assert answers([[first]]) == [["1"]]
        assert isinstance(second, Failure) and second.kind == kind
        assert gateway.stats.errors == {kind: 4}
        check_books(gateway, server)


def test_half_a_surrogate_pair_is_kept_as_a_question_mark(tmp_path: Path) -> None:
    text = WELL.replace("One", "One \ud83d \U0001f600")
    with (
        FaultServer(script={1: ["raw"]}) as server,
        api_gateway(server.url, tmp_path) as gateway,
    ):
        server.raw = json.dumps(openai(text)).encode()
        for _ in range(2):  # bought, then from the cache
            ((action,),) = gateway.propose([numbered(1)], 1, PARAMS)
            assert action.completion == WELL.replace("One", "One ? \U0001f600")
        assert server.tally.received == 1


def test_json_that_can_be_kept() -> None:
    assert read_json(b'{"a": [1, -2.5, "\xc3\xbc", null]}') == {"a": [1, -2.5, "ü", None]}
    assert read_json('{"a": "漢\\u2028\\u0000"}'.encode()) == {"a": "漢\u2028\0"}


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (TokenUsage(100, 10, 20), TokenUsage(100, 10, 20)),
        (TokenUsage(100, 0, 0), TokenUsage(100, 0, 0)),
        (TokenUsage(900, 0, 99), TokenUsage(900, 0, 99)),  # more than reserved is the truth too
        (TokenUsage(), MOST),
        (TokenUsage(None, 0, 20), replace(MOST, completion=20)),
        (TokenUsage(9, 3, None), replace(MOST, prompt=9, cached=3)),
        (TokenUsage(0, 0, 20), MOST),
        (TokenUsage(0, 0, 0), MOST),
        (TokenUsage(-5, 0, 20), MOST),
        (TokenUsage(100, -1, 20), MOST),
        (TokenUsage(100, 101, 20), MOST),
        (TokenUsage(100, 0, -20), MOST),
        (TokenUsage(10**30, 0, 20), MOST),
    ],
)
def test_usages_by_hand(said: TokenUsage, taken: TokenUsage) -> None:
    assert believable(said, MOST) == taken


@pytest.mark.parametrize(
    ("usage", "booked", "words"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 20}, (9, 20), None),
        ({}, None, None),
        ("none", None, None),
        ({"prompt_tokens": "many", "completion_tokens": {}}, None, None),
        ({"prompt_tokens": 9, "completion_tokens": 5000}, (9, 5000), "are booked, though at most"),
        ({"prompt_tokens": 10**8, "completion_tokens": 9}, (10**8, 9), "are booked, though"),
        ({"prompt_tokens": 9, "completion_tokens": 10**9}, None, "which cannot be: at most"),
        ({"prompt_tokens": 10**9, "completion_tokens": 9}, None, "which cannot be: at most"),
        ({"prompt_tokens": -9, "completion_tokens": 9}, None, "which cannot be: at most"),
        ({"prompt_tokens": True, "completion_tokens": 9}, None, "which cannot be: at most"),
        ({"prompt_tokens": 9, "completion_tokens": True}, None, "which cannot be: at most"),
        ({"prompt_tokens": 9, "completion_tokens": 2.5}, None, "which cannot be: at most"),
        (
            {"prompt_tokens": 9, "completion_tokens": 9, "prompt_tokens_details": CACHED_BELOW_0},
            None,
            "which cannot be: at most",
        ),
    ],
)
def test_a_count_that_cannot_be_is_marked(
    tmp_path: Path, caplog: Any, usage: Any, booked: tuple[int, int] | None, words: str | None
) -> None:
    """Asked for are 32 tokens; ``booked`` None is what was reserved."""
    with (
        FaultServer(script={1: ["raw"]}) as server,
        api_gateway(server.url, tmp_path) as gateway,
    ):
        server.raw = json.dumps(openai(usage=usage)).encode()
        ((action,),) = gateway.propose([numbered(1)], 1, PARAMS)
        with gateway.store.read() as db:
            (row,) = db.execute(
                "SELECT prompt_tokens, completion_tokens, error, state FROM calls"
            ).fetchall()
        assert gateway.stats.totals()["odd_usage"] == (words is not None)
        assert server.tally.received == 1
    assert action.completion == WELL and row[3] == "committed"
    assert row[:2] == booked if booked else row[1] == 32
    assert (row[2] is None and not caplog.records) if words is None else words in row[2]
    assert words is None or f"t, sample test/s1: {row[2]}" in caplog.text


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": None, "completion_tokens": 20}, {"completion_tokens": 20}]
)
def test_a_prompt_that_is_not_counted_has_no_count_and_is_not_free(
    tmp_path: Path, caplog: Any, usage: Any
) -> None:
    """No cost is made up of it: the most is booked, which is said; the action's count is None."""
    script = {number: ["raw"] for number in (1, 2)}
    with (
        FaultServer(script=script) as server,
        api_gateway(server.url, tmp_path, price=PRICE) as gateway,
    ):
        server.raw = json.dumps(openai(usage=usage)).encode()
        call = gateway.adapter.call(numbered(1), PARAMS)
        most = len(call.text.encode()) + 50 + 64
        ((action,),) = gateway.propose([numbered(1)], 1, PARAMS)
        ((cached,),) = gateway.propose([numbered(1)], 1, PARAMS)
        assert gateway.stats.totals()["odd_usage"] == 1
        assert gateway.ledger.summary().prompt_tokens == most
    for one in (action, cached):
        assert one.usage is not None
        assert (one.usage.prompt_tokens, one.usage.completion_tokens) == (None, 20)
        assert one.usage.cost == pytest.approx((most + 2 * 20) * 1e-6)
    assert "counts no prompt and 20 completion tokens" in caplog.text
    record = EvalRecord("s1", "t", "test", "f", 0, "m", "greedy", (action,), ())
    assert _cost([record])["prompt_tokens"] is None


def test_a_prompt_that_its_images_make_longer_is_not_doubted() -> None:
    assert doubt(TokenUsage(MOST.prompt * 100, 0, MOST.completion), MOST) is None
    assert doubt(TokenUsage(MOST.prompt * 100 + 1, 0, 1), MOST) is not None


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"usage": None},
        {"usage": {"prompt_tokens": -(10**6), "completion_tokens": 1}},
        {"usage": {"prompt_tokens": 10**30, "completion_tokens": 1}},
    ],
)
def test_a_server_that_does_not_count_is_not_free(tmp_path: Path, usage: dict[str, Any]) -> None:
    samples = [numbered(number) for number in range(1, 30)]
    with (
        FaultServer(script={number: ["raw"] for number in range(1, 30)}) as server,
        api_gateway(server.url, tmp_path, price=PRICE, budget=Budget(usd=0.002)) as gateway,
    ):
        server.raw = json.dumps(openai(**usage)).encode()
        call = gateway.adapter.call(samples[0], PARAMS)
        # bytes of the prompt + 50 for the image + 64, and 32 written at twice the price
        most = (len(call.text.encode()) + 50 + 64 + 2 * 32) * 1000
        ((action,),) = gateway.propose(samples[:1], 1, PARAMS)
        assert gateway.ledger.used().nano_usd == most
        assert action.usage is not None and action.usage.cost == pytest.approx(most / 1e9)
        with pytest.raises(BudgetExceeded, match="money"):
            gateway.propose(samples, 1, PARAMS)
        assert gateway.ledger.used().nano_usd <= 2_000_000
        assert server.tally.received <= 2_000_000 // most + 1


@pytest.mark.parametrize(("fault", "least"), [("429_wait", 1.5), ("429_date", 0.5)])
def test_the_servers_own_waiting_time_is_kept_to(tmp_path: Path, fault: str, least: float) -> None:
    """In seconds, and as a date, which knows whole seconds only."""
    with (
        FaultServer(script={1: [fault]}, wait=1.5) as server,
        api_gateway(server.url, tmp_path, backoff=0.0) as gateway,
    ):
        assert answers(gateway.propose([numbered(1)], 1, PARAMS)) == [["1"]]
        with gateway.store.read() as db:
            calls = db.execute("SELECT sent, state, attempt FROM calls ORDER BY id").fetchall()
        assert [row[1:] for row in calls] == [("refused", 1), ("committed", 2)]
        assert calls[1][0] - calls[0][0] >= least
        assert gateway.stats.waited_s >= least
        assert (gateway.stats.retries, gateway.stats.errors) == (1, {"rate_limit": 1})
