"""Slow jobs that say how far they are: what each has so far, then what it gives; they can be left.

Each job runs in a thread of its own. Whoever leaves the iteration (a reader who presses Stop, or
another page) ends the jobs at the next thing that they say.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")
#: Seconds between two looks that are passed on; what is said in between is left out.
EVERY = 0.25


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What the job gave."""

    value: T


class _LeftError(Exception):
    """Nobody waits for the job any more."""


def follow(job: Callable[[Callable[[S], None]], T]) -> Generator[S | Done[T], None, None]:
    """What ``job(say)`` said last, again and again, at last Done; its error is raised."""
    for news in follow_all([job]):
        said = news[0]
        if isinstance(said, BaseException):
            raise said
        yield said


def follow_all(
    jobs: Sequence[Callable[[Callable[[S], None]], T]],
) -> Iterator[dict[int, S | Done[T] | BaseException]]:
    """As `follow`, of several jobs at once: what is new of each by its place, errors as values."""
    heard: SimpleQueue[tuple[int, S | Done[T] | BaseException]] = SimpleQueue()
    left = threading.Event()

    def work(place: int, job: Callable[[Callable[[S], None]], T]) -> None:
        def say(what: S) -> None:
            if left.is_set():
                raise _LeftError
            heard.put((place, what))

        try:
            heard.put((place, Done(job(say))))
        except BaseException as error:
            heard.put((place, error))

    for pair in enumerate(jobs):
        threading.Thread(target=work, args=pair, name="ekipl-job", daemon=True).start()
    try:
        yield from _news(heard, len(jobs))
    finally:
        left.set()


def _news(heard: SimpleQueue[tuple[int, Any]], running: int) -> Iterator[dict[int, Any]]:
    """The last of what each said since the last look; the end of a job at once."""
    passed_on, news = 0.0, dict[int, Any]()
    while running:
        news |= dict([heard.get()])
        while not heard.empty():
            news |= dict([heard.get()])
        ended = sum(isinstance(said, Done | BaseException) for said in news.values())
        if ended or time.monotonic() - passed_on >= EVERY:
            yield news
            passed_on, news, running = time.monotonic(), {}, running - ended
