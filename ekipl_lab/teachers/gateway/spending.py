"""What teachers truly cost a run, as their gateways count it: over ranks, restarts, and kills.

An action from the cache has a price, and costs nothing now. `GroupCosts.teacher_usd` adds up what
the actions that a run used are worth; what is counted here was bought while the run ran: answers
that were unusable and asked anew, and actions fetched ahead, are in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.files import read_note, write_note
from ekipl_lab.teachers.ensemble import gateways
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.types import ActionSource

#: Numbers of a gateway (`GatewayStats.totals`) by name.
Counts = Mapping[str, float]
#: Logged every step; the other counts of a gateway once they are not 0.
ALWAYS = ("calls", "cache_hits", "cost_usd")
NOTE = "teachers.json"
Gather = Callable[[list[Any]], list[Any]]


class Spending:
    """The gateways of some teachers, and what they have counted since they were last asked."""

    def __init__(self, sources: Iterable[ActionSource]) -> None:
        found = {source.id: [g for g, _ in gateways(source, 1)] for source in sources}
        self._gateways: dict[str, list[Gateway]] = {id: g for id, g in found.items() if g}
        self._seen: dict[str, Counts] = {id: {} for id in self._gateways}

    def __bool__(self) -> bool:
        return bool(self._gateways)

    def since(self) -> dict[str, Counts]:
        """By teacher: what happened since the last call, on this rank."""
        now = {
            id: _sum(gateway.stats.totals() for gateway in members)
            for id, members in self._gateways.items()
        }
        seen, self._seen = self._seen, now
        return {
            id: {name: value - seen[id].get(name, 0.0) for name, value in counts.items()}
            for id, counts in now.items()
        }

    def resume(self, folder: Path, gather: Gather, is_main: bool) -> float:
        """USD that earlier processes of the run in ``folder`` have paid, by the ledgers.

        This process joins the list of those that buy for the run.
        """
        note = read_note(folder / NOTE) or {}
        before: list[str] = note.get("buyers", [])
        everyone = [gateway for members in self._gateways.values() for gateway in members]
        ledgers = {(gateway.store.path, gateway.ledger.account): gateway for gateway in everyone}
        paid = sum(gateway.ledger.paid_by(before) for gateway in ledgers.values())
        joined = gather([gateway.store.owner for gateway in everyone])
        if is_main:
            write_note(folder / NOTE, {"buyers": [*before, *joined]})
        return paid


def of_all_ranks(ranks: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    """The counts of all ranks together, by teacher."""
    ids = dict.fromkeys(id for counts in ranks for id in counts)
    return {id: _sum(counts[id] for counts in ranks if id in counts) for id in ids}


def as_metrics(spent: Mapping[str, Counts]) -> dict[str, float]:
    """Counts of one generation as ``teacher/<id>/<count>``; ``mean_latency_s`` of its calls."""
    metrics: dict[str, float] = {}
    for id, counts in spent.items():
        for name, value in counts.items():
            if name != "latency_s" and (value or name in ALWAYS):
                metrics[f"teacher/{id}/{name}"] = value
        if counts.get("calls"):
            metrics[f"teacher/{id}/mean_latency_s"] = counts["latency_s"] / counts["calls"]
    return metrics


def _sum(parts: Iterable[Counts]) -> Counts:
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total
