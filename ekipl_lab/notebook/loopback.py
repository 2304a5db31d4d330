"""A model behind an API, on 127.0.0.1: what a paid teacher is asked and answers, without paying.

It speaks OpenAI's chat API, looks a request up by question and pixels among samples whose scenes it
knows, and answers with a reference chain, so that requests, cache, prices and budgets are real.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ekipl_lab.types import ActionSource, GenerationParams, Sample


class LoopbackTeacher:
    """``url`` is its base URL, ``requests`` the bodies that it received.

    Asked about something that is not among ``samples`` it answers with HTTP status 400.
    """

    def __init__(self, samples: Sequence[Sample], teacher: ActionSource) -> None:
        self._known = {_key(sample.question, list(sample.images)): sample for sample in samples}
        self._questions = {sample.question for sample in samples}
        self._teacher = teacher
        self._lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> LoopbackTeacher:
        """Serve from now on, in a thread."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def close(self) -> None:
        """Stop serving; only after ``start``."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The reply to a request; None if it is about nothing that is known here."""
        text, images = _read(body)
        question = next((q for q in self._questions if q in text), "")
        sample = self._known.get(_key(question, images))
        with self._lock:
            self.requests.append(body)
            draw = len(self.requests)
        if sample is None:
            return None
        (actions,) = self._teacher.propose([sample], 1, GenerationParams(seed=draw))
        said = actions[0].completion
        return {
            "id": f"loopback-{draw}",
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": said},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": _tokens(text) + 85 * len(images),
                      "completion_tokens": _tokens(said)},
        }  # fmt: skip


def _tokens(text: str) -> int:
    """About as many as a real tokenizer counts: four characters each."""
    return -(-len(text) // 4)


def _key(question: str, images: Sequence[Any]) -> str:
    digest = hashlib.sha256(question.encode())
    for image in images:
        digest.update(image.convert("RGB").tobytes())
    return digest.hexdigest()


def _read(body: dict[str, Any]) -> tuple[str, list[Any]]:
    """The text and the pictures of a request."""
    from PIL import Image

    texts: list[str] = []
    images: list[Any] = []
    for message in body["messages"]:
        content = message["content"]
        parts: list[Any] = [{"text": content}] if isinstance(content, str) else content
        for part in parts:
            if "text" in part:
                texts.append(part["text"])
            else:
                data = part["image_url"]["url"].partition("base64,")[2]
                images.append(Image.open(io.BytesIO(base64.b64decode(data))))
    return "\n".join(texts), images


def _handler(teacher: LoopbackTeacher) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found = teacher.answer(body)
            reply = found or {"error": {"message": "this picture and question are not known here"}}
            data = json.dumps(reply).encode()
            self.send_response(400 if found is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
