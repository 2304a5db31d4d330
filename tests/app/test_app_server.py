"""The page as a server: this machine only, and a taken port is one sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from paths import ROOT
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.ports import bind
from app.server import LocalOnly
from ekipl_lab.errors import ConfigError


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:7860"}, 200),
        ({"host": "localhost:7860", "origin": "http://localhost:7860"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "null"}, 403),
        ({"host": "evil@[", "origin": "http://["}, 403),
        ({"host": ""}, 403),
    ],
)
def test_foreign_hosts_and_origins_are_refused(headers: dict[str, str], status: int) -> None:
    inner = Starlette(routes=[Route("/", lambda request: PlainTextResponse("page"))])
    response = TestClient(LocalOnly(inner)).get("/", headers=headers)
    assert response.status_code == status
    assert (response.text == "page") == (status == 200)


def test_a_taken_port_is_a_config_error() -> None:
    with bind(0) as held:
        port = held.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} cannot be used .*--port {port + 1}"):
            bind(port)
    with pytest.raises(ConfigError, match="Port 70000 does not exist"):
        bind(70000)


def test_a_taken_port_ends_the_command_with_code_2_and_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "app", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f"Port {port} cannot be used" in done.stderr
