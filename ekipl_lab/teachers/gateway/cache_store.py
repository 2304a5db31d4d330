"""The one SQLite file that holds bought actions, claims on them, and the ledger of calls.

WAL mode and full synchronisation: what is committed survives ``kill -9`` and a power cut. Every
write is one short transaction that takes the write lock at its start, so that several processes
wait for one another instead of failing. Values are JSON. The schema has a version; a file of a
newer version, or of another program, is refused.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ekipl_lab.errors import ConfigError, DataError, EKIPLError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x454B4950  # "EKIP"
BUSY_SECONDS = 60.0

_TABLES = """
CREATE TABLE actions (
  key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE claims (
  key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE calls (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  account TEXT NOT NULL, teacher TEXT NOT NULL, model TEXT NOT NULL,
  sample_id TEXT NOT NULL, keys TEXT NOT NULL, attempt INTEGER NOT NULL,
  state TEXT NOT NULL, owner TEXT NOT NULL, sent REAL NOT NULL, ended REAL,
  tokens INTEGER NOT NULL, nano_usd INTEGER NOT NULL,
  prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER,
  latency REAL, finish_reason TEXT, error TEXT);
CREATE INDEX calls_recent ON calls (account, sent);
CREATE INDEX calls_state ON calls (account, state);
CREATE TABLE totals (
  account TEXT PRIMARY KEY, calls INTEGER NOT NULL, tokens INTEGER NOT NULL,
  nano_usd INTEGER NOT NULL) WITHOUT ROWID;
"""


class Store:
    """A connection to the file at ``path``, shared by the threads of one process.

    ``owner`` names this process in claims and calls: host, process id, its start, a random part.
    Raises ConfigError if the file cannot be opened or stays locked for ``BUSY_SECONDS``, DataError
    if it is broken or not of this kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self.owner = make_owner(self._pid)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.OperationalError) as error:
            raise ConfigError(f"Cannot open the teacher store {self.path} ({error}).") from error
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise self._problem(error) from error

    def _prepare(self) -> None:
        _enter_wal_mode(self._db)
        self._db.execute("PRAGMA synchronous = FULL")
        with self.write() as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0 and _is_empty(db):
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                return
            application = int(db.execute("PRAGMA application_id").fetchone()[0])
        if application != APPLICATION_ID:
            raise DataError(f"{self.path} is not a teacher store; choose another `cache` path.")
        if version > SCHEMA_VERSION:
            raise DataError(
                f"The teacher store {self.path} has schema {version}, this program knows "
                f"{SCHEMA_VERSION}: update the program or choose another `cache` path."
            )

    def _problem(self, error: sqlite3.DatabaseError) -> EKIPLError:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ConfigError(
                f"The teacher store {self.path} was locked by another program for "
                f"{BUSY_SECONDS:g} s; end that program, or choose another `cache` path."
            )
        return DataError(
            f"The teacher store {self.path} cannot be read ({error}); move it away or fix it "
            "with `sqlite3 FILE .recover`."
        )

    def _connection(self) -> sqlite3.Connection:
        if self._pid != os.getpid():  # after a fork: SQLite connections do not survive one
            self._lock = threading.RLock()
            self._open()
        return self._db

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reading; other threads of this process wait."""
        db = self._connection()
        with self._lock:
            try:
                yield db
            except sqlite3.DatabaseError as error:
                raise self._problem(error) from error

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction with the write lock: all of it is kept, or nothing."""
        with self.read() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def close(self) -> None:
        """Close the connection of this process."""
        with self._lock:
            if self._pid == os.getpid():
                self._db.close()


def _enter_wal_mode(db: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait for its lock here, so that we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _is_empty(db: sqlite3.Connection) -> bool:
    return int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]) == 0


def make_owner(pid: int) -> str:
    """``host:pid:start:random``: enough to see later whether that process still lives."""
    return f"{socket.gethostname()}:{pid}:{_start_of(pid)}:{uuid.uuid4().hex[:8]}"


def is_gone(owner: str) -> bool:
    """True if ``owner`` was a process of this host that has surely ended."""
    host, pid, start, _ = owner.rsplit(":", 3)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OSError):
        return False
    now = _start_of(int(pid))
    return bool(start and now and start != now)


def _start_of(pid: int) -> str:
    """Start time of a process in clock ticks (Linux), empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
