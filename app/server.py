"""The page on 127.0.0.1, for this machine's browser only.

Gradio answers any Host and Origin header; a page of another site could then talk to this one
(DNS rebinding). ``LocalOnly`` refuses both.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app import main as page
from app.ports import HOST

TRUSTED = frozenset({"127.0.0.1", "localhost"})


class LocalOnly:
    """ASGI middleware: 403 unless Host, and Origin where one is sent, name this machine."""

    def __init__(self, app: ASGIApp, trusted: Iterable[str] = TRUSTED) -> None:
        self._app, self._trusted = app, frozenset(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a trusted request on, refuse any other."""
        if scope["type"] in ("http", "websocket"):
            headers = dict(scope["headers"])
            names = [_hostname("//" + headers.get(b"host", b"").decode("latin-1"))]
            if b"origin" in headers:
                names.append(_hostname(headers[b"origin"].decode("latin-1")))
            if not self._trusted.issuperset(names):
                refusal = PlainTextResponse("This page answers this machine only.\n", 403)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _hostname(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def build_app(port: int) -> FastAPI:
    """The whole web application: Gradio's page at /, behind the host check."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    gr.mount_gradio_app(
        app,
        page.build_page(),
        path="/",
        server_name=HOST,
        server_port=port,
        footer_links=[],
        ssr_mode=False,
        show_error=True,
        max_file_size="1mb",
        **page.look(),
    )
    app.add_middleware(LocalOnly)
    return app


def serve(held: socket.socket) -> None:
    """Serve on a socket of ``ports.bind`` until interrupted."""
    port = held.getsockname()[1]
    config = uvicorn.Config(build_app(port), log_level="critical", timeout_graceful_shutdown=1)
    print(f"EKIPL Lab: http://{HOST}:{port} (Ctrl-C stops it)", flush=True)
    uvicorn.Server(config).run(sockets=[held])
