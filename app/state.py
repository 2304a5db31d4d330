"""What is looked at, as a value that fits into the address: ``?run=...&item=...``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

LIVE, RECORDED = "Live", "Recorded"
ALL_FAMILIES = "all"
START = "start"


@dataclass(frozen=True, slots=True)
class Selection:
    """Everything the page needs to show one group again.

    ``run`` is a run's id, empty for "no run"; ``checkpoint`` names one of the run's checkpoints.
    Live: the sample ``item`` (an id; empty for the first), sampled with the seed ``draw``;
    ``family`` only filters what previous and next go through. Recorded: the ``group``-th group of
    ``step``.
    """

    mode: str = LIVE
    run: str = ""
    checkpoint: str = START
    item: str = ""
    family: str = ALL_FAMILIES
    draw: int = 0
    step: int = 0
    group: int = 0

    def to_query(self) -> str:
        """The part of the address after ``?``; only what the mode needs."""
        fields: dict[str, str | int] = {"run": self.run} if self.run else {}
        if self.mode == RECORDED:
            return urlencode({**fields, "view": "recorded", "step": self.step, "group": self.group})
        if self.run:
            fields["checkpoint"] = self.checkpoint
        fields["item"] = self.item
        if self.family != ALL_FAMILIES:
            fields["family"] = self.family
        if self.draw:
            fields["draw"] = self.draw
        return urlencode(fields, safe="/")


def from_query(query: Mapping[str, str], default: Selection) -> Selection:
    """The selection that an address names; what it leaves out or spoils comes from ``default``.

    Names are only read here: whether such a run or item exists is found when it is shown.
    """
    if not query:
        return default
    return replace(
        default,
        mode=RECORDED if query.get("view") == "recorded" else LIVE,
        run=query.get("run", default.run),
        checkpoint=query.get("checkpoint", default.checkpoint),
        item=query.get("item", default.item),
        family=query.get("family", default.family),
        draw=_count(query.get("draw"), default.draw),
        step=_count(query.get("step"), default.step),
        group=_count(query.get("group"), default.group),
    )


def _count(text: str | None, default: int) -> int:
    """A non-negative whole number of at most nine digits, else ``default``."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 10 else default
