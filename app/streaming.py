"""A slow job that says how far it is: its texts as they come, then what it gives; it can be left.

The job runs in a thread of its own. Whoever leaves the iteration (a reader who presses Stop, or
another page) ends the job at its next text.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
#: Seconds between two texts that are passed on; those in between are left out.
EVERY = 0.25


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What the job gave."""

    value: T


class _LeftError(Exception):
    """Nobody waits for the job any more."""


def follow(job: Callable[[Callable[[str], None]], T]) -> Iterator[str | Done[T]]:
    """The latest text of ``job(on_text)`` again and again, at last Done; its error is raised."""
    heard: SimpleQueue[str | Done[T] | BaseException] = SimpleQueue()
    left = threading.Event()

    def on_text(text: str) -> None:
        if left.is_set():
            raise _LeftError
        heard.put(text)

    def work() -> None:
        try:
            heard.put(Done(job(on_text)))
        except BaseException as error:
            heard.put(error)

    threading.Thread(target=work, name="ekipl-job", daemon=True).start()
    try:
        passed_on = 0.0
        while True:
            latest = _latest(heard)
            if isinstance(latest, BaseException):
                raise latest
            if isinstance(latest, Done):
                yield latest
                return
            if time.monotonic() - passed_on >= EVERY:
                yield latest
                passed_on = time.monotonic()
    finally:
        left.set()


def _latest(heard: SimpleQueue[str | Done[T] | BaseException]) -> str | Done[T] | BaseException:
    """Waits for something, and gives the last of what is there."""
    latest = heard.get()
    while True:
        try:
            latest = heard.get_nowait()
        except Empty:
            return latest
