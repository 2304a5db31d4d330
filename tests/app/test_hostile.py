"""Hostile values through every view, endpoint and address: an answer, nothing of the machine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import gradio as gr
import httpx
import pytest
from page_kit import served
from synthetic_runs import RunStore
from test_app_view import Tags

from app import api, main, views, votes
from app.state import from_query, to_query
from ekipl_lab.errors import EKIPLError

#: What must never be markup, a path, a template, a number or a command.
CORPUS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE runs; --",
    "../../../../etc/passwd",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "file:///etc/passwd",
    "http://evil.example/x",
    "javascript:alert(1)",
    "${7*7}{{7*7}}<%= 7*7 %>",
    "%00%2e%2e%2f",
    "\0",
    "a\0b",
    "\ud800",
    "\u202egnp.exe",
    "\x1b[2J\x07",
    "\r\nSet-Cookie: x=1",
    "💥" * 50,
    "9" * 5000,
    "-1",
    "1e308",
    "nan",
    "x" * 70_000,
    "&" * 500,
    "run=&run=&view=judge",
    "$(id)`id`",
]
#: Values of every JSON kind for the endpoints.
VALUES: list[Any] = [
    None, True, -1, 10**30, 0.5, float("1e308"), [], {}, [None], {"__type__": "update"},
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_votes(run_store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run_store.folder / "hostile" / "votes.jsonl"
    monkeypatch.setattr(votes, "votes_file", lambda: path)
    monkeypatch.setenv("SOME_API_KEY", "never-shown-1234567")


def shown_safely(page: str, text: str) -> None:
    """Nothing of the text became markup, and nothing of the machine is on the page."""
    tags = Tags(page)
    assert {name for name, _ in tags.tags}.isdisjoint({"script", "iframe", "object", "base"})
    assert not [name for _, attrs in tags.tags for name in attrs if name.startswith("on")]
    links = [attrs.get("href") or "" for name, attrs in tags.tags if name == "a"]
    assert all(link.startswith(("?", "export/", "http://127.0.0.1:5000/")) for link in links), links
    of_machine(page)


def of_machine(text: str) -> None:
    """No traceback, no path of this machine, no environment."""
    home, here = str(Path.home()), str(Path.cwd())
    for word in ("Traceback", "never-shown-1234567", 'File "', "root:x:0"):
        assert word not in text
    assert len(home) < 2 or f"{home}/" not in text
    assert f"{here}/" not in text


@pytest.mark.parametrize("view", sorted(set(views.VIEWS) - {"live"}))
def test_every_field_of_every_view_takes_every_text(run_store: RunStore, view: str) -> None:
    state = views.VIEWS[view].state
    run = run_store.runs["ekipl-s0"]
    for field in state.__dataclass_fields__:
        for text in CORPUS:
            named = {"view": view, "run": run, field: text}
            query = urlencode(named, errors="replace")
            page = list(views.show(query))[-1]
            shown_safely(page, text)
            try:
                complete = views.VIEWS[view].complete(from_query(state, named))
                views.VIEWS[view].load(complete)
            except EKIPLError as error:
                of_machine(str(error))


def test_raw_addresses_are_answered() -> None:
    for text in CORPUS:
        shown_safely(list(views.show(f"view=studies&{text}"))[-1], text)
    with_many = "&".join(["view=studies"] * 40)
    assert "The address is not one of this page" in list(views.show(with_many))[-1]
    assert "at most 30000 characters" in list(views.show("view=" + "x" * 70_000))[-1]


@pytest.mark.parametrize("view", ["runs", "judge", "teachers", "studies", "recorded"])
def test_controls_may_send_anything(run_store: RunStore, view: str) -> None:
    one = views.VIEWS[view]
    state = one.complete(from_query(one.state, {"run": run_store.runs["ekipl-s0"]}))
    for text in CORPUS[:18]:
        values = dict.fromkeys(("run", "of", "against", "rater", "reason", "study", "panel"), text)
        for action in ("run", "left", "next", "rater", "refresh", "study", text):
            changed = one.act(action, state, values)
            page = list(views.show(to_query(view, changed)))[-1]
            shown_safely(page, text)


@pytest.mark.parametrize("view", list(views.VIEWS))
def test_a_control_takes_only_what_it_could_have_sent(run_store: RunStore, view: str) -> None:
    """Every control of every view is given every kind of value, as the browser would send it."""
    one = views.VIEWS[view]
    query = (
        f"view={view}&run={run_store.runs['ekipl-s0']}&item=mini/counting/test/s0/compare/000000"
    )
    shown = one.load(one.complete(from_query(one.state, views.parse(query))))
    taken = 0
    for action in [*shown, "place", "picture", "nonsense"]:
        for value in [*VALUES, CORPUS[0], CORPUS[4], "9" * 5000, "nan", -1, 2]:
            step = {"view": view, "action": action, "value": value, "values": {action: value}}
            try:
                after = main._acted(step, query)
            except EKIPLError as error:
                of_machine(str(error))
                continue
            assert isinstance(after, str)
            taken += 1
    assert taken > len(shown)  # what it could have sent, buttons among them


@pytest.mark.parametrize(
    "function", [api.get_item, api.live_group, api.recorded_group, api.view, api.judge_vote]
)
def test_endpoints_refuse_what_is_no_text_or_number(function: Callable[..., Any]) -> None:
    kinds = [kind for name, kind in function.__annotations__.items() if name != "return"]
    usual: dict[str, Any] = {"str": "x", "int": 0}
    wrong = {"str": [*VALUES, 1, "\0", "x" * 30_001], "int": [*VALUES, float("nan"), *CORPUS]}
    for place, kind in enumerate(kinds):
        for value in wrong[kind]:
            given = [usual[k] for k in kinds]
            given[place] = value
            with pytest.raises(gr.Error) as found:
                api._checked(function)(*given)
            of_machine(str(found.value))


@pytest.fixture(scope="module")
def address(run_store: RunStore) -> Iterator[str]:
    with served() as found:
        yield found


def test_over_http_every_endpoint_answers_hostile_values(address: str) -> None:
    endpoints = httpx.get(f"{address}/gradio_api/info").json()["named_endpoints"]
    assert {"/view", "/live_group", "/judge_vote", "/judge_votes"} <= set(endpoints)
    bodies = [
        b'{"data": [' + b"9" * 5000 + b"]}", b'{"data": [NaN, Infinity]}', b"\x00\xff",
        json.dumps({"data": [None] * 6}).encode(), json.dumps({"data": ["x" * 70_000]}).encode(),
    ]  # fmt: skip
    for name in endpoints:
        for body in bodies:
            headers = {"content-type": "application/json"}
            url = f"{address}/gradio_api/call{name}"
            answer = httpx.post(url, content=body, headers=headers, timeout=60)
            assert answer.status_code < 600
            of_machine(answer.text)
            if answer.status_code == 200 and "event_id" in answer.json():
                result = httpx.get(f"{url}/{answer.json()['event_id']}", timeout=120)
                of_machine(result.text)
                assert "event: error" in result.text or "event: complete" in result.text


def test_over_http_addresses_and_files_are_answered(address: str, run_store: RunStore) -> None:
    for text in CORPUS[::3]:
        path = quote(text, errors="replace")[:20_000]
        for target in (f"/?view={path}", f"/export/chains.parquet?run={path}",
                       f"/export/bundle.html?view=runs&run={path}", f"/{path}"):  # fmt: skip
            answer = httpx.get(address + target, timeout=60)
            assert answer.status_code in (200, 307, 403, 404, 414), target[:60]
            of_machine(answer.text)
    assert httpx.get(f"{address}/export/votes.jsonl").content == b""
    for missing in ("preferences.parquet", "corrections.parquet", "report.html", "teachers.html"):
        answer = httpx.get(f"{address}/export/{missing}")
        assert answer.status_code == 404 and answer.text.count("\n") == 1
    upload = httpx.post(f"{address}/gradio_api/upload", files={"files": ("x.html", b"<script>")})
    assert upload.status_code == 403
    config = httpx.get(f"{address}/config").text
    assert str(run_store.folder) not in config
    of_machine(config)
    for name, value in os.environ.items():
        if len(value) > 12 and any(word in name for word in ("KEY", "TOKEN", "SECRET", "PATH")):
            assert value not in config


def test_a_request_line_of_70_000_characters_gets_an_answer(address: str) -> None:
    port = int(address.rpartition(":")[2])
    for length in (40_000, 70_000):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            target = "/?view=" + "x" * length
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            answer = connection.recv(65536).decode("latin-1")
        assert answer.startswith(("HTTP/1.1 414", "HTTP/1.1 400"))
        of_machine(answer)
