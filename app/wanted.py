"""What each open page wants to see, so that what is still being made for an address that it has
left ends. Gradio's own way to end an event can end the one that follows it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import closing
from threading import Lock

#: Pages that are kept in mind; of one that was used longest ago everything counts as wanted.
KEPT = 4096


class Wanted:
    """The last address of every session."""

    def __init__(self) -> None:
        self._queries: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def now(self, session: str | None, query: str) -> None:
        """From now on the session wants to see this address."""
        if session is None:
            return
        with self._lock:
            self._queries[session] = query
            self._queries.move_to_end(session)
            while len(self._queries) > KEPT:
                self._queries.popitem(last=False)

    def still(self, session: str | None, query: str) -> bool:
        """Whether it wants that address now."""
        return self._queries.get(session or "", query) == query

    def until_left(
        self, session: str | None, query: str, pages: Generator[str, None, None]
    ) -> Iterator[str]:
        """The pages of an address as long as they are wanted; then what makes them is closed."""
        with closing(pages):
            for page in pages:
                if not self.still(session, query):
                    return
                yield page
