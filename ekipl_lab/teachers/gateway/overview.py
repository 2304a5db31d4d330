"""What a store of teacher actions holds: for each teacher its requests, costs and errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ekipl_lab.teachers.gateway.cache_store import Store
from ekipl_lab.teachers.gateway.ledger import COMMITTED, REFUSED
from ekipl_lab.teachers.gateway.limits import NANO


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of one teacher and account; ``usd`` is what the answered ones cost.

    ``open`` ones have no answer: in flight, or possibly billed and lost; ``latency`` in seconds,
    the mean of the answered ones, None if there are none.
    """

    teacher: str
    account: str
    model: str
    requests: int
    answered: int
    refused: int
    open: int
    usd: float
    open_usd: float
    latency: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """An error and how often a teacher's requests ended with it."""

    teacher: str
    error: str
    count: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Actions in the cache, the requests, and the commonest errors."""

    cached: int
    traffic: tuple[Traffic, ...]
    failures: tuple[Failure, ...]


def overview(path: Path, most: int = 20) -> Overview | None:
    """What the store at ``path`` holds, ``most`` kinds of errors; None where there is no store.

    Raises ConfigError or DataError as `Store` does.
    """
    if not path.is_file():
        return None
    store = Store(path)
    try:
        with store.read() as db:
            (cached,) = db.execute("SELECT count(*) FROM actions").fetchone()
            traffic = db.execute(
                "SELECT teacher, account, model, count(*), sum(state = :done), sum(state = :no), "
                "sum(state NOT IN (:done, :no)), "
                "sum(CASE WHEN state = :done THEN nano_usd ELSE 0 END), "
                "sum(CASE WHEN state NOT IN (:done, :no) THEN nano_usd ELSE 0 END), "
                "avg(CASE WHEN state = :done THEN latency END) "
                "FROM calls GROUP BY teacher, account, model ORDER BY teacher, account, model",
                {"done": COMMITTED, "no": REFUSED},
            ).fetchall()
            failures = db.execute(
                "SELECT teacher, error, count(*) AS n FROM calls WHERE error IS NOT NULL "
                "GROUP BY teacher, error ORDER BY n DESC, teacher, error LIMIT ?",
                (most,),
            ).fetchall()
    finally:
        store.close()
    return Overview(
        cached,
        tuple(
            Traffic(
                who, account, model, asked, answered, refused, unknown, usd / NANO, due / NANO, s
            )
            for who, account, model, asked, answered, refused, unknown, usd, due, s in traffic
        ),
        tuple(Failure(*row) for row in failures),
    )
