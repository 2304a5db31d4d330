"""What is made for an address that a page has left ends; nobody ends another's."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from app import turns, wanted


def pages(closed: list[str]) -> Generator[str, None, None]:
    try:
        yield from ("first", "second", "third")
    finally:
        closed.append("closed")


def test_pages_end_when_their_reader_has_gone_on() -> None:
    reader, closed = wanted.Wanted(), list[str]()
    reader.now("ann", "a=1")
    reader.now("bob", "b=1")
    shown = reader.until_left("ann", "a=1", pages(closed))
    assert next(shown) == "first"
    reader.now("bob", "b=2")
    assert next(shown) == "second" and closed == []
    reader.now("ann", "a=2")
    assert list(shown) == [] and closed == ["closed"]
    assert list(reader.until_left("ann", "a=2", pages(closed))) == ["first", "second", "third"]
    assert list(reader.until_left("ann", "a=1", pages(closed))) == []  # left before it began


def test_a_page_that_is_closed_closes_what_makes_it() -> None:
    closed: list[str] = []
    shown = wanted.Wanted().until_left(None, "a", pages(closed))
    assert next(shown) == "first"  # no session: a program
    shown.close()  # type: ignore[attr-defined]
    assert closed == ["closed"]


def test_who_samples_lets_readers_pass_and_waits_no_longer_than_said() -> None:
    readers, passed = turns.Readers(), threading.Event()

    def sample(seconds: float) -> None:
        readers.let_pass(seconds)
        passed.set()

    readers.let_pass(60)  # nobody reads
    with readers:
        waiting = threading.Thread(target=sample, args=(60,))
        waiting.start()
        readers.let_pass(0.01)  # no longer than that
        assert not passed.is_set()
    waiting.join(30)
    assert passed.is_set()


def test_only_so_many_pages_are_kept_in_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "KEPT", 2)
    reader = wanted.Wanted()
    for name in ("ann", "bob", "eve"):
        reader.now(name, "a")
    assert reader.still("ann", "b") and not reader.still("eve", "b")
