"""What a request must be before Gradio sees it: pure checks of its headers and its path.

Gradio answers any Host and Origin header, so that a page of another site could talk to this one
(DNS rebinding), and serves files and takes uploads at addresses that no view needs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.login import LOCAL, Login

#: Longest path with its query, and largest body of a request, in bytes.
MAX_TARGET, MAX_BODY = 32_000, 1_000_000
#: The path of the page's events, which may carry a picture (`app.own.MAX_BYTES`) as a data URI.
EVENTS, MAX_EVENT = "/gradio_api/queue/join", 6_000_000
#: The paths that the page and `gradio_client` use. Uploads, files, proxies, monitoring, login and
#: Gradio's editor are not among them.
OPEN = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(assets|static|svelte)/.+"
    r"|/export/[a-z]+\.(jsonl|html|parquet)"
    r"|/gradio_api/(info|config|app_id|startup-events|cancel|reset|theme\.css)"
    r"|/gradio_api/(queue/(join|data)|heartbeat/\w+|(call|run|api)/.+)"
)
_AUTHORITY = re.compile(r"([a-z0-9.-]{1,253}|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
#: Nothing is loaded from, sent to, or framed by another place.
_HEADERS = {
    b"content-security-policy": b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    b"base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
}


class LocalOnly:
    """ASGI middleware: refuses what is not for this page, and adds headers to what it answers.

    ``names`` are the hosts it answers to, None for any (with a ``login``).
    """

    def __init__(
        self, app: ASGIApp, names: Collection[str] | None = LOCAL, login: Login | None = None
    ) -> None:
        self._app, self._names, self._login = app, names, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a trusted request on, refuse any other."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message.get("headers", ()) if k.lower() not in _HEADERS]
                message = {**message, "headers": [*kept, *_HEADERS.items()]}
            await send(message)

        refused = self._refusal(scope)
        answer = self._app if refused is None else _response(*refused)
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence for a request that is not answered."""
        headers = scope["headers"]
        host, origin = _values(headers, b"host"), _values(headers, b"origin")
        if not is_trusted(host, origin, self._names):
            return 403, "This page answers this machine only."
        if self._login and not self._login.admits("".join(_values(headers, b"authorization"))):
            return 401, "Name and password are needed."
        if len(scope["path"]) + len(scope.get("query_string", b"")) > MAX_TARGET:
            return 414, f"An address has at most {MAX_TARGET} characters."
        if not OPEN.fullmatch(scope["path"]) or ".." in scope["path"]:
            return 403, "There is nothing here."
        return _too_large(scope)


def is_trusted(
    hosts: Sequence[str], origins: Sequence[str], names: Collection[str] | None = LOCAL
) -> bool:
    """Whether a request has one Host, of a known name, and no Origin but that host's own."""
    if len(hosts) != 1 or len(origins) > 1:
        return False
    found = _AUTHORITY.fullmatch(host := hosts[0].lower())
    if found is None or (names is not None and found[1] not in names):
        return False
    return all(origin.lower() in (f"http://{host}", f"https://{host}") for origin in origins)


def _too_large(scope: Scope) -> tuple[int, str] | None:
    """A body must say how long it is, and not be too long."""
    if scope.get("method") in (None, "GET", "HEAD", "OPTIONS"):
        return None
    lengths = _values(scope["headers"], b"content-length")
    if len(lengths) != 1 or not lengths[0].isdecimal():
        return 411, "A request with a body must state its length."
    largest = MAX_EVENT if scope["path"] == EVENTS else MAX_BODY
    if len(lengths[0]) > 12 or int(lengths[0]) > largest:
        return 413, f"This request may have at most {largest} bytes."
    return None


def _response(status: int, sentence: str) -> Any:
    ask = {"www-authenticate": 'Basic realm="EKIPL Lab", charset="UTF-8"'} if status == 401 else {}
    return PlainTextResponse(f"{sentence}\n", status, headers=ask)


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]
