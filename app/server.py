"""The page as a server: on 127.0.0.1 for this machine's browser, elsewhere only with a login."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Collection
from contextlib import suppress

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.utils import MatplotlibBackendMananger

from app import downloads, views
from app import main as page
from app.guard import MAX_BODY, LocalOnly
from app.login import LOCAL, Login
from app.ports import HOST
from app.state import to_query
from ekipl_lab.errors import EKIPLError

#: Seconds between two looks of Gradio's queue for what has come in; its own 0.001 keeps one core
#: busy at 6 % while nobody reads.
LOOKS = 0.01
#: Seconds after which a thread lets another one go on. An event changes threads some thirty times;
#: with Python's own 0.005 each change waits that long for whoever draws another reader's page.
TURN = 0.001


def build_app(
    port: int, *, names: Collection[str] | None = LOCAL, login: Login | None = None
) -> FastAPI:
    """The whole web application: Gradio's page at /, behind the checks of `app.guard`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    downloads.add_routes(app)
    blocks = page.build_page()
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=HOST,
        server_port=port,
        footer_links=[],
        ssr_mode=False,
        show_error=False,  # an EKIPLError is shown as gr.Error; what else fails is our defect
        max_file_size=MAX_BODY,
        **page.look(),
    )
    blocks._queue.sleep_when_free = LOOKS
    app.add_middleware(LocalOnly, names=names, login=login)
    return app


def prepare() -> None:
    """Do once what the first page needs, so that no reader waits for it; keep what stays out of the
    garbage collector's way, which else stops all readers for a third of a second now and then."""
    with suppress(EKIPLError):  # the page itself says what is wrong
        name, state = views.find({})
        views.VIEWS[name].load(state)
        if name not in page.SAMPLED:
            list(views.show(to_query(name, state, default="")))
    with MatplotlibBackendMananger():  # Gradio does this at every event; the first time loads it
        pass
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(TURN)


def serve(held: socket.socket, login: Login | None = None) -> None:
    """Serve on a socket of ``ports.bind`` until interrupted."""
    host, port = held.getsockname()[:2]
    names = None if login else LOCAL
    app = build_app(port, names=names, login=login)
    prepare()
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    print(f"EKIPL Lab: http://{host}:{port} (Ctrl-C stops it)", flush=True)
    uvicorn.Server(config).run(sockets=[held])
