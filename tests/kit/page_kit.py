"""The app as a browser uses it: it reads the page's config and sends its events by component."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from app import ports, server


@contextmanager
def served() -> Iterator[str]:
    """The whole page on a free port of this machine; its address."""
    held = ports.bind(0)
    port = held.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(server.build_app(port), log_level="error"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [held]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(30)


class Browser:
    """One open page: ``values`` by element id, ``query`` the address, ``stage`` the HTML shown."""

    def __init__(self, address: str, query: str = "") -> None:
        self._api, self._session = f"{address}/gradio_api", uuid.uuid4().hex
        self._params = dict(httpx.QueryParams(query))
        config = httpx.get(f"{address}/config").json()
        self._parts = {part["id"]: part["props"] for part in config["components"]}
        self._events = config["dependencies"]
        self._follow(next(e for e in self._events if e["targets"][0][1] == "load"))

    def act(self, name: str, event: str, value: Any = None) -> None:
        """Set a control and fire its event, then everything that follows from it."""
        number = next(i for i, p in self._parts.items() if p.get("elem_id") == name)
        if value is not None:
            self._parts[number]["value"] = value
        self._follow(next(e for e in self._events if [number, event] in e["targets"]))

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The properties of a control."""
        return next(p for p in self._parts.values() if p.get("elem_id") == name)

    @property
    def query(self) -> str:
        """The address after ``?``."""
        hidden = next(e for e in self._events if "window.history" in (e["js"] or ""))
        return str(self._parts[hidden["inputs"][0]]["value"])

    @property
    def stage(self) -> str:
        """What the page shows beside its controls."""
        return str(self["stage"]["value"])

    def _follow(self, event: dict[str, Any]) -> None:
        if event["backend_fn"]:
            self._send(event)
        for later in self._events:
            if later["trigger_after"] == event["id"]:
                self._follow(later)

    def _send(self, event: dict[str, Any]) -> None:
        body = {
            "fn_index": event["id"],
            "session_hash": self._session,
            "data": [self._parts[number].get("value") for number in event["inputs"]],
        }
        sent = httpx.post(f"{self._api}/queue/join", json=body, params=self._params)
        sent.raise_for_status()
        with httpx.stream(
            "GET",
            f"{self._api}/queue/data",
            params={"session_hash": self._session},
            timeout=120,
        ) as answers:
            for line in answers.iter_lines():
                if line.startswith("data:"):
                    self._take(event, json.loads(line.removeprefix("data:")))

    def _take(self, event: dict[str, Any], message: dict[str, Any]) -> None:
        if message["msg"] != "process_completed":
            return
        assert message["success"], message["output"]
        found = message["output"]["data"]
        for number, value in zip(event["outputs"], found, strict=True):
            if isinstance(value, dict) and value.get("__type__") == "update":
                self._parts[number].update(value)
            else:
                self._parts[number]["value"] = value
