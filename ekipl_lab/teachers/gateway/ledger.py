"""What can be promised about money.

- Before a request is sent, an *intent* is written, and the most it can cost is reserved.
- An answer is committed, together with its place in the cache, before it is used.
- A request that the provider refused (rate limit, wrong key, bad request) or that never left
  costs nothing: its reservation is given back.
- Whatever else happens to it (time-out, broken connection, server error, unreadable answer,
  ``kill -9``), it stays *unresolved*: possibly billed, and counted against the budget.

So at any moment, over one account: committed <= billed by the server <= committed + unresolved,
and the budget is not passed as long as a call costs no more than was reserved for it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ekipl_lab.errors import BudgetExceeded
from ekipl_lab.teachers.gateway.cache import ActionCache, Value
from ekipl_lab.teachers.gateway.cache_store import Store, is_gone
from ekipl_lab.teachers.gateway.limits import (
    NANO,
    WINDOW_SECONDS,
    Amounts,
    Budget,
    over_budget,
    seconds_to_wait,
)

SENT, COMMITTED, REFUSED, UNRESOLVED = "sent", "committed", "refused", "unresolved"
MAX_ERROR_LENGTH = 500
SETTLE_SECONDS = 0.1  # between two looks at requests in flight that hold the budget
LONGEST_CALL_SECONDS = 900.0  # a request sent before that is not waited for


@dataclass(frozen=True, slots=True)
class Intent:
    """One request about to be sent, and the most it can use."""

    teacher: str
    model: str
    sample_id: str
    keys: tuple[str, ...]
    attempt: int
    tokens: int
    nano_usd: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What one answered request used; ``error`` is what is odd about the server's count."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    nano_usd: int
    latency: float
    finish_reason: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """The rates allow this call only after ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Requests of one account by state, and what they used.

    ``unresolved`` counts requests without an answer, those in flight included.
    """

    intents: int
    committed: int
    refused: int
    unresolved: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    usd: float
    unresolved_usd: float


class Ledger:
    """The ``calls`` and ``totals`` tables of a store, for one account."""

    def __init__(
        self,
        store: Store,
        account: str,
        *,
        budget: Budget | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store, self.account, self._clock = store, account, clock
        self.budget = budget or Budget()
        self._rpm, self._tpm = requests_per_minute, tokens_per_minute

    def open(self, intent: Intent) -> int | Wait:
        """Write the intent and reserve, or say how long to wait.

        Returns the call's number. Raises BudgetExceeded, with nothing written, if the budget does
        not cover it, however cheaply the requests in flight may end. Rates and budget hold over
        all processes that share the store.
        """
        now = self._clock()
        with self.store.write() as db:
            asked = Amounts(1, intent.tokens, intent.nano_usd)
            used = self._used(db)
            problem = over_budget(used, asked, self.budget)
            if problem and not over_budget(used + -self._in_flight(db, now), asked, self.budget):
                return Wait(SETTLE_SECONDS)
            if problem:
                raise BudgetExceeded(
                    f"Teacher {intent.teacher!r}: the budget of account {self.account!r} does not "
                    f"cover sample {intent.sample_id} ({problem}); raise `budget` or name another "
                    "`account`."
                )
            wait = self._seconds_to_wait(db, now, intent.tokens)
            if wait > 0:
                return Wait(wait)
            self._add(db, asked)
            return self._insert(db, intent, now)

    def commit(
        self, call: int, spent: Spent, answers: Mapping[str, Value], cache: ActionCache
    ) -> None:
        """Keep the answers and what they cost, in one transaction; only then may they be used."""
        with self.store.write() as db:
            self._settle(db, call, spent.prompt_tokens + spent.completion_tokens, spent.nano_usd)
            self._update(db, call, state=COMMITTED, ended=self._clock(), **asdict(spent))
            cache.put_in(db, answers)

    def fail(self, call: int, error: str, *, maybe_billed: bool, latency: float = 0.0) -> None:
        """Close a request without an answer: refused (free) or unresolved (possibly billed)."""
        with self.store.write() as db:
            if not maybe_billed:
                self._settle(db, call, 0, 0)
                self._add(db, Amounts(calls=-1))
            self._update(
                db,
                call,
                state=UNRESOLVED if maybe_billed else REFUSED,
                ended=self._clock(),
                error=error[:MAX_ERROR_LENGTH],
                latency=latency,
            )

    def used(self) -> Amounts:
        """What counts against the budget: committed, and reserved for whatever is not refused."""
        with self.store.read() as db:
            return self._used(db)

    def summary(self) -> Summary:
        """Counts and costs of this account."""
        with self.store.read() as db:
            rows = db.execute(
                "SELECT state, count(*), sum(prompt_tokens), sum(cached_tokens), "
                "sum(completion_tokens), sum(nano_usd) FROM calls WHERE account = ? "
                "GROUP BY state",
                (self.account,),
            ).fetchall()
        by = {row[0]: [value or 0 for value in row[1:]] for row in rows}
        none = [0] * 5
        answered, open_calls = by.get(COMMITTED, none), [SENT, UNRESOLVED]
        return Summary(
            intents=sum(row[0] for row in by.values()),
            committed=answered[0],
            refused=by.get(REFUSED, none)[0],
            unresolved=sum(by.get(state, none)[0] for state in open_calls),
            prompt_tokens=answered[1],
            cached_tokens=answered[2],
            completion_tokens=answered[3],
            usd=answered[4] / NANO,
            unresolved_usd=sum(by.get(state, none)[4] for state in open_calls) / NANO,
        )

    def paid_by(self, owners: Sequence[str]) -> float:
        """USD of the answers that these owners (`Store.owner`) have committed."""
        with self.store.read() as db:
            rows: list[tuple[str, int]] = db.execute(
                "SELECT owner, sum(nano_usd) FROM calls WHERE account = ? AND state = ? "
                "GROUP BY owner",
                (self.account, COMMITTED),
            ).fetchall()
        return sum(spent for owner, spent in rows if owner in owners) / NANO

    def unresolved(self) -> list[dict[str, Any]]:
        """Every request that was possibly billed without an answer, oldest first."""
        names = ("id", "sample_id", "attempt", "state", "sent", "tokens", "nano_usd", "error")
        with self.store.read() as db:
            rows = db.execute(
                f"SELECT {', '.join(names)} FROM calls WHERE account = ? AND state IN (?, ?) "
                "ORDER BY id",
                (self.account, SENT, UNRESOLVED),
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _used(self, db: sqlite3.Connection) -> Amounts:
        row = db.execute(
            "SELECT calls, tokens, nano_usd FROM totals WHERE account = ?", (self.account,)
        ).fetchone()
        return Amounts(*row) if row else Amounts()

    def _in_flight(self, db: sqlite3.Connection, now: float) -> Amounts:
        """What requests in flight of living processes hold: some of it may come back."""
        rows = db.execute(
            "SELECT owner, count(*), sum(tokens), sum(nano_usd) FROM calls "
            "WHERE account = ? AND state = ? AND sent > ? GROUP BY owner",
            (self.account, SENT, now - LONGEST_CALL_SECONDS),
        ).fetchall()
        return sum((Amounts(*row[1:]) for row in rows if not is_gone(row[0])), Amounts())

    def _seconds_to_wait(self, db: sqlite3.Connection, now: float, tokens: int) -> float:
        if self._rpm is None and self._tpm is None:
            return 0.0
        recent: Sequence[tuple[float, int]] = db.execute(
            "SELECT sent, tokens FROM calls WHERE account = ? AND sent > ? ORDER BY sent",
            (self.account, now - WINDOW_SECONDS),
        ).fetchall()
        return seconds_to_wait(
            recent, now, tokens, requests_per_minute=self._rpm, tokens_per_minute=self._tpm
        )

    def _insert(self, db: sqlite3.Connection, intent: Intent, now: float) -> int:
        row = {
            **asdict(intent),
            "keys": json.dumps(intent.keys),
            "account": self.account,
            "state": SENT,
            "owner": self.store.owner,
            "sent": now,
        }
        values = ", ".join(f":{column}" for column in row)
        cursor = db.execute(f"INSERT INTO calls ({', '.join(row)}) VALUES ({values})", row)
        return int(cursor.lastrowid or 0)

    def _settle(self, db: sqlite3.Connection, call: int, tokens: int, nano_usd: int) -> None:
        """Replace what was reserved by what was used."""
        reserved = db.execute("SELECT tokens, nano_usd FROM calls WHERE id = ?", (call,)).fetchone()
        self._add(db, Amounts(0, tokens - reserved[0], nano_usd - reserved[1]))
        self._update(db, call, tokens=tokens, nano_usd=nano_usd)

    def _update(self, db: sqlite3.Connection, call: int, **columns: object) -> None:
        changes = ", ".join(f"{column} = :{column}" for column in columns)
        db.execute(f"UPDATE calls SET {changes} WHERE id = :id", {**columns, "id": call})

    def _add(self, db: sqlite3.Connection, more: Amounts) -> None:
        db.execute(
            "INSERT INTO totals VALUES (?, ?, ?, ?) ON CONFLICT (account) DO UPDATE SET "
            "calls = calls + excluded.calls, tokens = tokens + excluded.tokens, "
            "nano_usd = nano_usd + excluded.nano_usd",
            (self.account, more.calls, more.tokens, more.nano_usd),
        )
