"""A teacher API on 127.0.0.1 that misbehaves on request, in the shape of several providers' APIs.

It answers ``Question <n>?`` with ``<n>``, and with the number painted into every image, so that
an answer that reached another sample shows. What goes wrong is a function of (seed, question,
how often it was asked): the order of requests does not matter. It counts what it received and
what it would bill, and stops answering after ``max_requests``.

    python tests/kit/fault_server.py --seed 3 --rate 0.3     # prints address and seed; serves
                                                         # until its standard input closes
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

FAULTS = (
    "429",
    "429_wait",
    "500",
    "reset",
    "timeout",
    "cut_off",
    "schema",
    "empty",
    "refusal",
    "length",
    "slow",
)
#: A provider charges for an answer it wrote, whether or not it arrived.
NOT_BILLED = ("429", "429_wait", "429_date", "500", "401_echo", "quota", "redirect", "400")
PROMPT_TOKENS, COMPLETION_TOKENS, CACHED_TOKENS = 100, 20, 10


def painted_image(number: int, size: int = 8) -> Image.Image:
    """An image whose colour is a number below 2**24."""
    return Image.new("RGB", (size, size), (number >> 16 & 255, number >> 8 & 255, number & 255))


def painted_number(png: bytes) -> int:
    red, green, blue = Image.open(io.BytesIO(png)).convert("RGB").getpixel((0, 0))
    return red << 16 | green << 8 | blue


@dataclass
class Tally:
    """What the server saw: requests, requests it would bill, faults, requests per question."""

    received: int = 0
    billed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    asked: Counter[int] = field(default_factory=Counter)
    billed_of: Counter[int] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0


class FaultServer:
    """Context manager; ``url`` is its address. ``script`` maps a question's number to the faults
    of its first requests ("ok" for none); other questions fail at ``rate``, evenly over
    ``faults``. ``hold`` is how long (s) a time-out is held, ``wait`` what ``429_wait`` asks for."""

    def __init__(
        self,
        *,
        seed: int = 0,
        rate: float = 0.0,
        faults: Sequence[str] = FAULTS,
        script: Mapping[int, Sequence[str]] | None = None,
        latency: float = 0.0,
        hold: float = 5.0,
        wait: float = 0.05,
        max_requests: int = 50_000,
        several_choices: bool = True,
        text: str = "<think>I see {seen}.</think><answer>{number}</answer>",
        reasoning: str = "",
    ) -> None:
        self.seed, self.rate, self.faults, self.script = seed, rate, faults, dict(script or {})
        self.latency, self.hold, self.wait = latency, hold, wait
        self.max_requests, self.several_choices = max_requests, several_choices
        self.text, self.reasoning = text, reasoning
        #: Requests beyond this number are held like a time-out; None: all are answered.
        self.answer_until: int | None = None
        #: What the faults ``raw`` and ``redirect`` answer: a body, a location.
        self.raw, self.location = b"", "http://127.0.0.1:9/steal"
        self.tally, self.closing = Tally(), threading.Event()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._times_asked: dict[int, int] = defaultdict(int)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def begin(self, number: int, body: dict[str, Any], headers: dict[str, str]) -> str:
        """Count a request and decide its fate."""
        with self._lock:
            tally = self.tally
            tally.received += 1
            tally.asked[number] += 1
            tally.in_flight += 1
            tally.most_in_flight = max(tally.most_in_flight, tally.in_flight)
            if len(self.bodies) < 64:
                self.bodies.append(body)
                self.headers.append(headers)
            turn = self._times_asked[number]
            self._times_asked[number] += 1
            fault = "500" if tally.received > self.max_requests else self.fate(number, turn)
            if self.answer_until is not None and tally.received > self.answer_until:
                fault = "timeout"
            tally.faults[fault] += 1
            if fault not in NOT_BILLED:
                tally.billed += 1
                tally.billed_of[number] += 1
            return fault

    def end(self) -> None:
        with self._lock:
            self.tally.in_flight -= 1

    def fate(self, number: int, turn: int) -> str:
        if number in self.script:
            faults = self.script[number]
            return faults[turn] if turn < len(faults) else "ok"
        digest = hashlib.sha256(f"{self.seed}:{number}:{turn}".encode()).digest()
        if int.from_bytes(digest[:4]) / 2**32 >= self.rate:
            return "ok"
        return self.faults[int.from_bytes(digest[4:8]) % len(self.faults)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are expected here."""


def read_prompt(body: Mapping[str, Any]) -> tuple[int, list[int]]:
    """Question number and painted numbers, from a request in any of the three shapes."""
    text, pngs = "", []
    for turn in body.get("messages") or body.get("contents") or []:
        parts = turn.get("content") or turn.get("parts")
        pngs += turn.get("images", [])
        for part in [{"text": parts}] if isinstance(parts, str) else parts:
            if "text" in part:
                text += part["text"]
            elif "image_url" in part:
                pngs.append(part["image_url"]["url"].removeprefix("data:image/png;base64,"))
            elif "source" in part:
                pngs.append(part["source"]["data"])
            else:
                pngs.append(part["inlineData"]["data"])
    match = re.search(r"Question (\d+)\?", text)
    return int(match[1]) if match else -1, [painted_number(base64.b64decode(p)) for p in pngs]


def openai_shape(texts: list[str], reasoning: str, finish: str, body: Mapping[str, Any]) -> Any:
    choices = []
    for index, text in enumerate(texts):
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if reasoning:
            message["reasoning_content"] = reasoning
        if finish == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        choice: dict[str, Any] = {
            "index": index,
            "message": message,
            "finish_reason": "length" if finish == "length" else "stop",
        }
        if body.get("logprobs"):
            tokens = re.findall(r"\S+\s*", text)
            entries = [{"token": token, "logprob": -0.5} for token in tokens]
            choice["logprobs"] = {"content": entries}
        choices.append(choice)
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": COMPLETION_TOKENS * len(texts),
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }
    return {"id": "x", "model": body["model"] + "-served", "choices": choices, "usage": usage}


def anthropic_shape(texts: list[str], reasoning: str, finish: str, body: Mapping[str, Any]) -> Any:
    blocks = [{"type": "thinking", "thinking": reasoning, "signature": "s"}] if reasoning else []
    blocks += [{"type": "text", "text": texts[0]}] if texts[0] else []
    reasons = {"length": "max_tokens", "refusal": "refusal"}
    return {
        "type": "message",
        "model": body["model"] + "-served",
        "content": blocks,
        "stop_reason": reasons.get(finish, "end_turn"),
        "usage": {
            "input_tokens": PROMPT_TOKENS - CACHED_TOKENS,
            "cache_read_input_tokens": CACHED_TOKENS,
            "output_tokens": COMPLETION_TOKENS,
        },
    }


def gemini_shape(texts: list[str], reasoning: str, finish: str, body: Mapping[str, Any]) -> Any:
    parts = [{"text": reasoning, "thought": True}] if reasoning else []
    parts += [{"text": texts[0]}] if texts[0] else []
    reasons = {"length": "MAX_TOKENS", "refusal": "SAFETY"}
    return {
        "candidates": [
            {
                "content": {"role": "model", "parts": parts},
                "finishReason": reasons.get(finish, "STOP"),
            }
        ],
        "usageMetadata": {
            "promptTokenCount": PROMPT_TOKENS,
            "cachedContentTokenCount": CACHED_TOKENS,
            "candidatesTokenCount": COMPLETION_TOKENS - 5,
            "thoughtsTokenCount": 5,
        },
        "modelVersion": "gemini-served",
    }


def ollama_shape(texts: list[str], reasoning: str, finish: str, body: Mapping[str, Any]) -> Any:
    return {
        "model": body["model"] + "-served",
        "message": {"role": "assistant", "content": texts[0], "thinking": reasoning},
        "done_reason": "length" if finish == "length" else "stop",
        "prompt_eval_count": PROMPT_TOKENS,
        "eval_count": COMPLETION_TOKENS,
    }


def _shape_of(path: str) -> Any:
    if path == "/api/chat":
        return ollama_shape
    if path == "/v1/chat/completions":
        return openai_shape
    if path == "/v1/messages":
        return anthropic_shape
    return gemini_shape if re.fullmatch(r"/v1beta/models/[^/]+:generateContent", path) else None


def _handler(server: FaultServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # headers and body in one packet, or Nagle's algorithm holds them 40 ms
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            shape = _shape_of(self.path)
            if shape is None:
                return self.reply(404, {"error": {"message": f"no {self.path}"}})
            number, seen = read_prompt(body)
            fault = server.begin(number, body, dict(self.headers.items()))
            try:
                if server.latency:
                    server.closing.wait(server.latency)
                with suppress(ConnectionError):
                    self.act(fault, shape, number, seen, body)
            finally:
                server.end()

        def act(self, fault: str, shape: Any, number: int, seen: list[int], body: Any) -> None:
            if fault in ("429", "429_wait"):
                headers = {"retry-after": str(server.wait)} if fault == "429_wait" else {}
                return self.reply(429, {"error": {"message": "slow down", "code": "rate"}}, headers)
            if fault == "429_date":
                date = formatdate(time.time() + server.wait, usegmt=True)
                return self.reply(429, {"error": "slow down"}, {"retry-after": date})
            if fault == "raw":
                return self.reply(200, server.raw)
            if fault == "quota":
                error = {"message": "no money left", "code": "insufficient_quota"}
                return self.reply(429, {"error": error})
            if fault == "500":
                return self.reply(500, b"<html>oops</html>")
            if fault == "400":
                return self.reply(400, {"error": {"message": "image too large"}})
            if fault == "redirect":
                return self.reply(307, b"", {"location": server.location})
            if fault == "401_echo":
                return self.reply(401, {"error": {"message": f"bad key {self.sent_key()}"}})
            if fault == "reset":
                return self.hang_up()
            if fault == "timeout":
                server.closing.wait(server.hold)
                return self.hang_up()
            data = json.dumps(self.answer(fault, shape, number, seen, body)).encode()
            if fault == "cut_off":
                return self.reply(200, data[: len(data) // 2])
            if fault == "slow":
                return self.drip(data)
            self.reply(200, data)

        def answer(self, fault: str, shape: Any, number: int, seen: list[int], body: Any) -> Any:
            text = server.text.format(seen=seen, number=number)
            if fault == "schema":
                return {"result": text}
            if fault == "ok_echo":
                text += f" {self.sent_key()}"
            if fault == "length":
                text = text[: len(text) // 2]
            if fault == "empty":
                text = ""
            count = body.get("n", 1) if server.several_choices else 1
            texts = [text if i == 0 else text.replace("I see", f"{i}: I see") for i in range(count)]
            reasoning = "" if fault == "empty" else server.reasoning
            return shape(texts, reasoning, fault, body)

        def sent_key(self) -> str:
            names = ("authorization", "x-api-key", "x-goog-api-key")
            return next((self.headers[name] for name in names if self.headers.get(name)), "")

        def reply(self, status: int, data: Any, headers: Mapping[str, str] | None = None) -> None:
            payload = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def hang_up(self) -> None:
            self.close_connection = True
            self.connection.close()

        def drip(self, data: bytes) -> None:
            """A few bytes at a time, for longer than a client should wait."""
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            end = time.monotonic() + server.hold
            for start in range(0, len(data), 4):
                self.wfile.write(data[start : start + 4])
                self.wfile.flush()
                if server.closing.wait(0.05) or time.monotonic() > end:
                    return self.hang_up()

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.0)
    args = parser.parse_args()
    with FaultServer(seed=args.seed, rate=args.rate, latency=args.latency) as server:
        print(server.url, flush=True)
        print(json.dumps({"seed": args.seed, "rate": args.rate}), flush=True)
        sys.stdin.read()
        print(json.dumps(vars(server.tally), default=dict), flush=True)


if __name__ == "__main__":
    main()
