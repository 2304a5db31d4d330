"""A lock that goes round: several who sample at once advance by a token each, in turn."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """``with turns:`` waits for one's turn, first come, first served."""

    def __init__(self) -> None:
        self._guard, self._line = threading.Lock(), deque[threading.Event]()

    def __enter__(self) -> None:
        mine = threading.Event()
        with self._guard:
            self._line.append(mine)
            if self._line[0] is mine:
                mine.set()
        mine.wait()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._line.popleft()
            if self._line:
                self._line[0].set()

    def give_way(self) -> None:
        """Let all who wait by now go first; whoever has the turn may call it."""
        if len(self._line) > 1:
            self.__exit__()
            self.__enter__()


class Readers:
    """``with readers:`` marks who only reads; who samples lets them go first, for a moment."""

    def __init__(self) -> None:
        self._changed, self._reading = threading.Condition(), 0

    def __enter__(self) -> None:
        with self._changed:
            self._reading += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._reading -= 1
            self._changed.notify_all()

    def let_pass(self, seconds: float) -> None:
        """Wait until nobody reads, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._reading == 0, seconds)
