"""What was bought once is never bought again: a content-addressed cache of teacher answers.

A key is the hash of everything that decides an answer (``cache_key``); a value is one JSON object.
Every row carries a checksum over key and value: a row that does not match is dropped, counted and
bought again, never served. Before a process buys, it *claims* the key. Another process that wants
the same key waits for the claim's owner; a claim ends with the answer, with a release, with its
lease, or at once when its owner is seen to have died.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ekipl_lab.teachers.gateway.cache_store import Store, is_gone

LEASE_SECONDS = 60.0
_CHUNK = 500  # SQLite's limit on variables of one statement is 999 in old builds

Value = Mapping[str, Any]


@dataclass(slots=True)
class Claims:
    """What came of asking for some keys: answers that are there, keys this process must now buy,
    and keys that another process is buying."""

    ready: dict[str, Value] = field(default_factory=dict)
    mine: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text for one value. NaN is refused."""
    return _encode(value)


def cache_key(parts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON of everything that decides an answer."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def _checksum(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()


class ActionCache:
    """The ``actions`` and ``claims`` tables of a store.

    ``lease`` is how long (seconds) a claim of a live process stands without ``renew``.
    """

    def __init__(
        self, store: Store, *, lease: float = LEASE_SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        self.store, self.lease, self._clock = store, lease, clock
        self.refused_rows = 0

    def __len__(self) -> int:
        with self.store.read() as db:
            return int(db.execute("SELECT count(*) FROM actions").fetchone()[0])

    def get_many(self, keys: Iterable[str]) -> dict[str, Value]:
        """The values of those keys that are there and whole."""
        with self.store.read() as db:
            return self._fetch(db, list(keys))[0]

    def claim(self, keys: Sequence[str]) -> Claims:
        """Sort ``keys`` into ready, mine and busy, in one transaction."""
        claims, now, mine = Claims(), self._clock(), self.store.owner
        with self.store.write() as db:
            claims.ready, broken = self._fetch(db, keys)
            self.refused_rows += len(broken)
            db.executemany("DELETE FROM actions WHERE key = ?", [(key,) for key in broken])
            todo = [key for key in dict.fromkeys(keys) if key not in claims.ready]
            claimed = _select(db, "SELECT key, owner, expires FROM claims WHERE key IN", todo)
            held = {key: (owner, expires) for key, owner, expires in claimed}
            for key in todo:
                owner, expires = held.get(key, (mine, 0.0))
                free = owner == mine or expires <= now or is_gone(owner)
                (claims.mine if free else claims.busy).append(key)
            rows = [(key, mine, now + self.lease) for key in claims.mine]
            db.executemany("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", rows)
        return claims

    def renew(self, keys: Iterable[str]) -> None:
        """Prolong this process's claims on ``keys``."""
        rows = [(self._clock() + self.lease, key, self.store.owner) for key in keys]
        with self.store.write() as db:
            db.executemany("UPDATE claims SET expires = ? WHERE key = ? AND owner = ?", rows)

    def release(self, keys: Iterable[str]) -> None:
        """Give up this process's claims on ``keys``."""
        with self.store.write() as db:
            self._release(db, keys)

    def put(self, values: Mapping[str, Value]) -> None:
        """Keep answers and end the claims on them, in one transaction."""
        with self.store.write() as db:
            self.put_in(db, values)

    def put_in(self, db: sqlite3.Connection, values: Mapping[str, Value]) -> None:
        """As ``put``, within a transaction of the caller. The first answer to a key stays."""
        rows = []
        for key, value in values.items():
            text = canonical_json(value)
            rows.append((key, text, _checksum(key, text), self._clock()))
        db.executemany("INSERT OR IGNORE INTO actions VALUES (?, ?, ?, ?)", rows)
        self._release(db, values)

    def _release(self, db: sqlite3.Connection, keys: Iterable[str]) -> None:
        rows = [(key, self.store.owner) for key in keys]
        db.executemany("DELETE FROM claims WHERE key = ? AND owner = ?", rows)

    @staticmethod
    def _fetch(db: sqlite3.Connection, keys: Sequence[str]) -> tuple[dict[str, Value], list[str]]:
        """Whole values by key, and the keys of broken rows."""
        found: dict[str, Value] = {}
        broken: list[str] = []
        for key, text, checksum in _select(
            db, "SELECT key, CAST(value AS BLOB), checksum FROM actions WHERE key IN", keys
        ):
            value = _whole(key, text, checksum)
            if value is None:
                broken.append(key)
            else:
                found[key] = value
        return found, broken


def _whole(key: str, text: bytes, checksum: object) -> Value | None:
    """The value, or None if the row was altered or damaged."""
    try:
        decoded = text.decode()
        if _checksum(key, decoded) != checksum:
            return None
        value = json.loads(decoded)
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None


def _select(db: sqlite3.Connection, query: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), _CHUNK):
        part = list(keys[start : start + _CHUNK])
        rows += db.execute(f"{query} ({','.join('?' * len(part))})", part).fetchall()
    return rows
