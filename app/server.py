"""The page as a server: on 127.0.0.1 for this machine's browser, elsewhere only with a login."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from contextlib import suppress

import gradio as gr
import uvicorn
from fastapi import FastAPI

from app import downloads, views
from app import main as page
from app.guard import MAX_BODY, LocalOnly
from app.login import LOCAL, Login
from app.ports import HOST
from ekipl_lab.errors import EKIPLError


def build_app(
    port: int, *, names: Collection[str] | None = LOCAL, login: Login | None = None
) -> FastAPI:
    """The whole web application: Gradio's page at /, behind the checks of `app.guard`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    downloads.add_routes(app)
    gr.mount_gradio_app(
        app,
        page.build_page(),
        path="/",
        server_name=HOST,
        server_port=port,
        footer_links=[],
        ssr_mode=False,
        show_error=False,  # an EKIPLError is shown as gr.Error; what else fails is our defect
        max_file_size=MAX_BODY,
        **page.look(),
    )
    app.add_middleware(LocalOnly, names=names, login=login)
    return app


def prepare() -> None:
    """Import what the first page needs and ask the store once, so that no reader waits for it."""
    with suppress(EKIPLError):  # the page itself says what is wrong
        name, state = views.find({})
        views.VIEWS[name].load(state)


def serve(held: socket.socket, login: Login | None = None) -> None:
    """Serve on a socket of ``ports.bind`` until interrupted."""
    host, port = held.getsockname()[:2]
    names = None if login else LOCAL
    app = build_app(port, names=names, login=login)
    prepare()
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    print(f"EKIPL Lab: http://{host}:{port} (Ctrl-C stops it)", flush=True)
    uvicorn.Server(config).run(sockets=[held])
