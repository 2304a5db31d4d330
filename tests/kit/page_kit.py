"""The app as a browser uses it: it reads the page's config and sends what a reader does."""

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


def _view_of(step: dict[str, Any]) -> str | None:
    """The view that a step stays in or leads to, as ``static/page.js`` tells it."""
    if "query" not in step:
        return str(step["view"])
    view: str | None = httpx.QueryParams(step["query"]).get("view")
    return view


class Browser:
    """One open page: ``values`` by element id, ``query`` the address, ``stage`` the HTML shown."""

    def __init__(self, address: str, query: str = "") -> None:
        self._http = httpx.Client(base_url=address, timeout=120)
        self._session = uuid.uuid4().hex
        self._params = dict(httpx.QueryParams(query))
        config = self._http.get("/config").json()
        self._parts = {part["id"]: part["props"] for part in config["components"]}
        self._events = config["dependencies"]
        self._typed: dict[str, dict[str, Any]] = {}
        self._follow(next(e for e in self._events if e["targets"][0][1] == "load"))

    def act(self, name: str, event: str, value: Any = None) -> None:
        """Set a control or press a button whose event the page listens to."""
        number = self._number(name)
        assert any([number, event] in e["targets"] for e in self._events), (name, event)
        if name == "mode":
            return self.send({"view": value})
        view, action = name.split("-", 1)
        typed = self._typed.setdefault(view, {})
        if value is not None and not str(value).startswith("data:"):
            self._parts[number]["value"] = typed[action] = value
        return self.send({"view": view, "action": action, "value": value, "values": dict(typed)})

    def send(self, *steps: dict[str, Any]) -> None:
        """What ``static/page.js`` sends for some steps of the reader, and all that follows."""
        found = httpx.QueryParams(self.query).get("view", "live")
        to = {_view_of(step) for step in steps}
        way = f"{'send' if to == {found} else 'go'}-{next(iter(to))}"
        known = len(to) == 1 and any(p.get("elem_id") == way for p in self._parts.values())
        sent = self._clicked(way if known else "send")
        self._parts[sent["inputs"][0]]["value"] = json.dumps(steps)
        self._follow(sent)

    def _clicked(self, name: str) -> dict[str, Any]:
        """The event of a button."""
        number = self._number(name)
        return next(
            e for e in self._events if [number, "click"] in e["targets"] and e["backend_fn"]
        )

    def _number(self, name: str) -> int:
        return int(next(i for i, p in self._parts.items() if p.get("elem_id") == name))

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The properties of a control."""
        return next(p for p in self._parts.values() if p.get("elem_id") == name)

    @property
    def query(self) -> str:
        """The address after ``?``."""
        return str(self._parts[self._clicked("send")["inputs"][1]]["value"])

    @property
    def stage(self) -> str:
        """What the page shows beside its controls."""
        return str(self["stage"]["value"])

    def _follow(self, event: dict[str, Any]) -> None:
        """An event, and the one that ``static/page.js`` lets follow where the stage is missing."""
        self._send(event)
        after = [e for e in self._events if e["trigger_after"] == event["id"]]
        (answer,) = (e["inputs"][0] for e in after if e["trigger_only_on_success"])
        if not json.loads(self._parts[answer]["value"])["whole"]:
            self._send(self._clicked("show"))

    def _send(self, event: dict[str, Any]) -> None:
        body = {
            "fn_index": event["id"],
            "session_hash": self._session,
            "data": [self._parts[number].get("value") for number in event["inputs"]],
        }
        sent = self._http.post("/gradio_api/queue/join", json=body, params=self._params)
        sent.raise_for_status()
        session = {"session_hash": self._session}
        with self._http.stream("GET", "/gradio_api/queue/data", params=session) as answers:
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
