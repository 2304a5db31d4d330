"""What the page answers at all: hosts, origins, paths, sizes, and who may see it elsewhere."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app import guard
from app.guard import LocalOnly, is_trusted
from app.login import Login, login_for
from ekipl_lab.errors import ConfigError

HOST = "127.0.0.1:7860"


@pytest.mark.parametrize(
    ("hosts", "origins", "trusted"),
    [
        ([HOST], [], True),
        (["LOCALHOST"], ["http://localhost"], True),
        ([HOST], [f"http://{HOST}"], True),
        ([HOST, HOST], [], False),
        ([HOST, "evil.example"], [], False),
        ([], [], False),
        (["127.0.0.1@evil.example"], [], False),
        (["evil.example@127.0.0.1"], [], False),
        (["user:pass@127.0.0.1:7860"], [], False),
        (["127.0.0.1:7860/evil"], [], False),
        (["127.0.0.1:7860 evil"], [], False),
        (["127.0.0.1.evil.example"], [], False),
        (["127.0.0.1:"], [], False),
        (["127.0.0.1:999999"], [], False),
        ([HOST], ["http://user@127.0.0.1:7860"], False),
        ([HOST], [f"http://{HOST}", f"http://{HOST}"], False),
        ([HOST], [f"http://{HOST}", "http://evil.example"], False),
        ([HOST], ["null"], False),
        ([HOST], [""], False),
        ([HOST], ["http://127.0.0.1:5000"], False),  # another page of this machine
        ([HOST], ["http://localhost:7860"], False),
        ([HOST], [f"http://{HOST}.evil.example"], False),
        ([HOST], [f"javascript://{HOST}"], False),
    ],
)
def test_only_this_page_s_own_host_and_origin_are_trusted(
    hosts: list[str], origins: list[str], trusted: bool
) -> None:
    assert is_trusted(hosts, origins) is trusted


def test_behind_a_login_any_single_well_formed_host_is_answered() -> None:
    assert is_trusted(["lab.example:7860"], ["https://lab.example:7860"], None)
    assert not is_trusted(["lab.example"], ["https://evil.example"], None)
    assert not is_trusted(["user@lab.example"], [], None)
    assert not is_trusted(["lab.example", "lab.example"], [], None)


def client(**options: Any) -> TestClient:
    async def whole(request: Any) -> PlainTextResponse:
        return PlainTextResponse(f"{len(await request.body())} bytes")

    inner = Starlette(routes=[Route("/{path:path}", whole, methods=["GET", "POST"])])
    return TestClient(LocalOnly(inner, **options), base_url="http://127.0.0.1")


def test_doubled_headers_are_refused_whole() -> None:
    for double in (("host", "127.0.0.1"), ("origin", "http://127.0.0.1")):
        headers = [("host", "127.0.0.1"), ("origin", "http://127.0.0.1"), double]
        assert client().get("/", headers=headers).status_code == 403
    assert client().get("/", headers=headers[:2]).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/config", 200),
        ("/assets/index.js", 200),
        ("/gradio_api/queue/join", 200),
        ("/gradio_api/call/view/abc", 200),
        ("/export/votes.jsonl", 200),
        ("/gradio_api/upload", 403),
        ("/gradio_api/upload_progress", 403),
        ("/gradio_api/file=/etc/passwd", 403),
        ("/gradio_api/file/etc/passwd", 403),
        ("/gradio_api/proxy=http://evil.example", 403),
        ("/gradio_api/stream/x", 403),
        ("/gradio_api/vibe-edit", 403),
        ("/gradio_api/component_server", 403),
        ("/gradio_api/dev/reload", 403),
        ("/monitoring", 403),
        ("/login", 403),
        ("/assets/../../etc/passwd", 403),
        ("/assets/%2e%2e/%2e%2e/etc/passwd", 403),
        ("/export/votes.jsonl/../../x", 403),
        ("/etc/passwd", 403),
    ],
)
def test_only_the_paths_that_the_page_uses_are_open(path: str, status: int) -> None:
    assert client().get(path).status_code == status


def test_addresses_and_bodies_have_a_limit() -> None:
    assert client().get("/?view=" + "x" * 40_000).status_code == 414
    post = client().post
    assert post("/gradio_api/queue/join", content=b"x" * 900_000).text == "900000 bytes"
    large = post("/gradio_api/queue/join", content=b"x" * (guard.MAX_EVENT + 1))
    assert large.status_code == 413 and large.text.count("\n") == 1
    elsewhere = post("/gradio_api/call/view", content=b"x" * (guard.MAX_BODY + 1))
    assert elsewhere.status_code == 413  # only the page's events may carry a picture
    chunked = post("/gradio_api/queue/join", content=iter([b"x" * 10]))
    assert chunked.status_code == 411
    for length in ("-1", "1e3", "9" * 5000):
        headers = {"content-length": length}
        refused = post("/gradio_api/queue/join", content=b"x", headers=headers)
        assert refused.status_code in (411, 413)


def test_an_answer_may_load_and_frame_nothing_foreign() -> None:
    headers = client().get("/").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_a_login_is_asked_for_on_every_path() -> None:
    page = client(names=None, login=Login("ann", "päßword-1"))
    for path in ("/", "/assets/index.js", "/gradio_api/queue/join", "/export/votes.jsonl"):
        refused = page.get(path)
        assert refused.status_code == 401 and "Basic" in refused.headers["www-authenticate"]
        for wrong in ("ann:", "ann:password-1", "bob:päßword-1", ":päßword-1", "ann"):
            assert page.get(path, headers=basic(wrong)).status_code == 401
        assert page.get(path, headers=basic("ann:päßword-1")).status_code == 200
    assert "päßword" not in repr(Login("ann", "päßword-1"))


def test_another_host_needs_a_user_and_a_password() -> None:
    assert login_for("127.0.0.1", {}) is None
    both = {"EKIPL_APP_USER": "ann", "EKIPL_APP_PASSWORD": "long enough"}
    assert login_for("0.0.0.0", both) == Login("ann", "long enough")
    assert login_for("127.0.0.1", both) == Login("ann", "long enough")
    for missing in (
        {},
        {"EKIPL_APP_USER": "ann"},
        {"EKIPL_APP_PASSWORD": "long enough"},
        both | {"EKIPL_APP_PASSWORD": "short"},
        both | {"EKIPL_APP_USER": "a:b"},
    ):
        with pytest.raises(ConfigError, match=r"A page on 0\.0\.0\.0 needs a user"):
            login_for("0.0.0.0", missing)
    with pytest.raises(ConfigError, match="needs a user"):
        login_for("127.0.0.1", {"EKIPL_APP_USER": "ann"})
