"""One JSON request over HTTP, and what its failure means. The only file that imports httpx.

Keys come from the environment at the moment of sending, go into one header, and nowhere else:
errors are raised outside the frames that see them, and a server that echoes a key, however JSON
escapes it, has it blotted out. Redirects are not followed. The time limit holds for the whole body,
however slowly it drips, and for each wait before it.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ekipl_lab.errors import ConfigError, printable
from ekipl_lab.secrets import blotted
from ekipl_lab.teachers.gateway.types import CallError

if TYPE_CHECKING:
    import httpx

MAX_RESPONSE_BYTES = 16 * 2**20
CONNECT_SECONDS = 10.0
INSTALL = "pip install 'ekipl-lab[teachers]'"
_BLOT = b"[key]"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Where a key is found; never the key itself. ``header`` and ``prefix`` say how it is sent."""

    env: str
    header: str
    prefix: str = ""

    def read(self, teacher: str) -> str:
        """The key; ConfigError if the variable is not set."""
        value = os.environ.get(self.env, "").strip()
        if not value:
            raise ConfigError(
                f"Teacher {teacher!r}: the environment variable {self.env} is not set; "
                f"run `export {self.env}=...` first."
            )
        if len(value) < 8 or not value.isascii() or not value.isprintable():
            raise ConfigError(f"Teacher {teacher!r}: {self.env} does not hold an API key.")
        return value


def is_loopback(url: str) -> bool:
    """True if the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_base_url(url: str, teacher: str, *, has_key: bool) -> str:
    """The URL without a trailing slash; ConfigError if it is malformed or would give a key away."""
    where = f"Teacher {teacher!r}: base_url"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{where} is not a URL ({error}).") from None
    plain = url.isascii() and url.isprintable() and not set(url) & set(' \\"<>')
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not plain:
        raise ConfigError(f"{where} must look like https://host/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"{where} must not hold a user, password, query or fragment; name the variable that "
            "holds the key as `api_key_env`."
        )
    if parts.scheme == "http" and has_key and not is_loopback(url):
        raise ConfigError(f"{where} is http://: a key is only sent over https, or to this machine.")
    return url.rstrip("/")


class JsonClient:
    """Posts JSON to one server. Safe to share between threads; connections are kept open."""

    def __init__(
        self,
        base_url: str,
        teacher: str,
        key: ApiKey | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.base_url = check_base_url(base_url, teacher, has_key=key is not None)
        self._teacher, self._key, self._headers = teacher, key, dict(headers or {})
        self._client: httpx.Client | None = None
        self._pid = 0

    def check(self) -> None:
        """ConfigError if httpx or the key is missing."""
        self._open()
        if self._key is not None:
            self._key.read(self._teacher)

    def post(self, path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """The JSON object that the server answers within ``timeout`` seconds; else CallError."""
        status, headers, content = self._exchange(path, json.dumps(body).encode(), timeout)
        if self._key is not None:
            content = blotted(self._key.read(self._teacher), content, _BLOT)
        if status != 200:
            raise _status_error(status, headers, content)
        answer = read_json(content)
        if answer is None:
            raise CallError("cut_off", f"the answer is not a JSON object ({len(content)} bytes)")
        return answer

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None and self._pid == os.getpid():
            self._client.close()
        self._client = None

    def _open(self) -> httpx.Client:
        try:
            import httpx
        except ImportError:
            raise ConfigError(
                f"Teacher {self._teacher!r} needs the extra `teachers`: {INSTALL}."
            ) from None
        if self._client is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._client = httpx.Client(
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=256),
                trust_env=not is_loopback(self.base_url),
                follow_redirects=False,
            )
        return self._client

    def _authorise(self, request: httpx.Request) -> httpx.Request:
        if self._key is not None:
            request.headers[self._key.header] = self._key.prefix + self._key.read(self._teacher)
        return request

    def _exchange(
        self, path: str, content: bytes, timeout: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body. Failures become CallErrors that know nothing of the request:
        they are raised after the handlers, so that no request hangs on them as context."""
        import httpx

        client, deadline = self._open(), time.monotonic() + timeout
        try:
            with client.stream(
                "POST",
                self.base_url + path,
                content=content,
                headers={"content-type": "application/json", **self._headers},
                auth=self._authorise,
                timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            ) as response:
                return response.status_code, response.headers, _read(response, deadline)
        except (httpx.ConnectTimeout, httpx.ConnectError, httpx.PoolTimeout) as error:
            problem = CallError(
                "connection", f"no connection ({type(error).__name__})", maybe_billed=False
            )
        except httpx.TimeoutException:
            problem = CallError("timeout", f"no whole answer within {timeout:g} s")
        except (httpx.HTTPError, httpx.StreamError) as error:
            problem = CallError("reset", f"the connection broke ({type(error).__name__})")
        raise problem


def read_json(content: bytes) -> dict[str, Any] | None:
    """The JSON object in an answer, None if it is none that can be kept.

    NaN, infinities, bottomless nesting and UTF-16 (in which no key would be blotted out) are no
    JSON; half of a surrogate pair, which no file can hold, becomes a question mark.
    """
    try:
        text = content.decode("utf-8-sig")
        answer = json.loads(text, parse_constant=_finite, parse_float=_finite)
        text = json.dumps(answer, ensure_ascii=False)
        if not text.isascii():
            answer = json.loads(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _read(response: httpx.Response, deadline: float) -> bytes:
    import httpx

    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            raise CallError("too_large", f"the answer is over {MAX_RESPONSE_BYTES} bytes")
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("")
    return b"".join(parts)


def _status_error(status: int, headers: Mapping[str, str], content: bytes) -> CallError:
    """What an HTTP status means for retrying, waiting and the bill."""
    message, code = error_text((read_json(content) or {}).get("error"))
    text = f"HTTP {status}" + (f": {message}" if message else "")
    wait = retry_after(headers, content)
    if status == 429 and code in ("insufficient_quota", "billing_hard_limit_reached"):
        return CallError("quota", text, retryable=False, maybe_billed=False)
    if status == 429:
        return CallError("rate_limit", text, maybe_billed=False, wait=wait)
    if status >= 500 or status in (408, 409, 425):
        return CallError("server", text, wait=wait)
    kind = {401: "key", 403: "key", 404: "not_found"}.get(status, "request")
    if 300 <= status < 400:
        kind, text = "redirect", f"HTTP {status}: redirects are not followed; fix base_url"
    return CallError(kind, text, retryable=False, maybe_billed=False)


def error_text(error: Any) -> tuple[str, str]:
    """Message and code of the ``error`` of any of these APIs, empty where it has none; without
    control characters."""
    if isinstance(error, str):
        return printable(error[:300]), ""
    if not isinstance(error, Mapping):
        return "", ""
    return printable(str(error.get("message", ""))[:300]), printable(str(error.get("code", "")))


def retry_after(headers: Mapping[str, str], content: bytes = b"") -> float | None:
    """Seconds the server asks to wait: ``retry-after-ms``, ``retry-after`` (seconds or a date),
    or Gemini's ``retryDelay`` in the body; None if it says nothing readable."""
    try:
        seconds = _stated_wait(headers, content)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return None if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX)


def _stated_wait(headers: Mapping[str, str], content: bytes) -> float | None:
    if "retry-after-ms" in headers:
        return _finite(headers["retry-after-ms"]) / 1000
    stated = headers.get("retry-after", "")
    if stated.replace(".", "", 1).isdigit():
        return float(stated)
    if stated:
        return parsedate_to_datetime(stated).timestamp() - time.time()
    for detail in json.loads(content)["error"]["details"]:
        if "retryDelay" in detail:
            return _finite(str(detail["retryDelay"]).removesuffix("s"))
    return None
