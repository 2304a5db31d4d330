"""What was read is kept: for a moment, and longer where files say that nothing has changed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

from ekipl_lab.tracking import store

#: Seconds for which an answer is taken as still true, unasked.
FRESH = 2.0
#: Seconds for which an answer does while another one asks.
LATE = 10.0
#: The most answers that are kept; the one used longest ago goes first.
KEPT = 4096
#: A file written within so many ns may change once more without another time of writing.
SETTLED = 2_000_000_000

T = TypeVar("T")
#: Of each file its name, when it was written (ns), and its size; empty: nothing is known.
Stamp = tuple[tuple[str, int, int], ...]


class _Answer:
    """An answer, when it was last known to be true, and the stamp that it was read under."""

    def __init__(self) -> None:
        self.asking, self.stamp, self.value = Lock(), cast(Stamp, ()), cast(Any, None)
        self.at: float | None = None


_ANSWERS: OrderedDict[Hashable, _Answer] = OrderedDict()
_LOCK = Lock()


def remembered(
    key: tuple[Hashable, ...],
    ask: Callable[[], T],
    *,
    stamp: Callable[[], Stamp] | None = None,
    forever: bool = False,
) -> T:
    """``ask()``, or its answer of less than ``FRESH`` seconds ago; one click asks many times.

    An older answer stands as long as the files of ``stamp`` have not changed. Of several that ask
    at once one does; who has an answer of less than ``LATE`` seconds ago does not wait for it.
    ``forever`` is for what cannot change any more.
    """
    with _LOCK:
        answer = _ANSWERS.setdefault((store.tracking_uri(), *key), _Answer())
        _ANSWERS.move_to_end((store.tracking_uri(), *key))
        while len(_ANSWERS) > KEPT:
            _ANSWERS.popitem(last=False)
    known = answer.at
    if known is not None and (forever or time.monotonic() - known <= FRESH):
        return cast(T, answer.value)
    late = known is None or time.monotonic() - known > LATE
    if not answer.asking.acquire(blocking=late):
        return cast(T, answer.value)
    try:
        if answer.at == known:
            _renew(answer, ask, stamp() if stamp else ())
        return cast(T, answer.value)
    finally:
        answer.asking.release()


def _renew(answer: _Answer, ask: Callable[[], Any], stamp: Stamp) -> None:
    if answer.at is None or not stamp or stamp != answer.stamp:
        answer.value = ask()
        newest = max((written for _, written, _ in stamp), default=0)
        answer.stamp = stamp if time.time_ns() - newest > SETTLED else ()
    answer.at = time.monotonic()


def stamp_of(files: Iterable[Path]) -> Stamp:
    """The stamp of files, of those that are there; taken before they are read."""
    found: list[tuple[str, int, int]] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        found.append((file.name, status.st_mtime_ns, status.st_size))
    return tuple(found)


def stamp_of_store() -> Stamp:
    """The stamp of the files of the store; empty for that of a server."""
    database = store.database()
    wal = () if database is None else (database, database.with_name(f"{database.name}-wal"))
    return stamp_of(wal)


def stamp_of_folder(folder: Path) -> Stamp:
    """The stamp of the files in a folder."""
    try:
        return stamp_of(sorted(folder.iterdir()))
    except OSError:
        return ()
