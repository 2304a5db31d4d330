"""The contrasts that a study named before its runs: tested together, shown first.

Each is one arm against another in one metric of one group of one set. Holm's p is over all of
them and nothing else, so that what is only looked at costs them no power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ekipl_lab.evaluation import find_metric
from ekipl_lab.statistics import holm
from ekipl_lab.studies.config import Registered, Study
from ekipl_lab.studies.contrasts import Contrast, contrasts
from ekipl_lab.studies.record import CellRecord
from ekipl_lab.tables import DASH, Table, TableCell, limits, markdown_text, percent, points, row


@dataclass(frozen=True, slots=True)
class Tested:
    """A registered contrast and what was measured; ``found`` None while no cell has both arms.

    ``planned``: the seeds of the study; before all are there no verdict is final.
    """

    wanted: Registered
    found: Contrast | None
    planned: int

    @property
    def verdict(self) -> str:
        """Held, the opposite, not told apart; or that there are too few seeds to say."""
        one = self.found
        if one is None:
            return "not measured yet"
        if one.over_seeds is None:
            return "open, one seed says nothing of others"
        said = "not told apart"
        if one.found:
            as_expected = (one.difference > 0) == (self.wanted.expected == "above")
            said = "held" if as_expected else "opposite"
        return said if len(one.seeds) >= self.planned else f"open, so far {said}"


def registered_contrasts(study: Study, records: Sequence[CellRecord]) -> list[Tested]:
    """Every registered contrast in order, p adjusted over all of them (Holm).

    One without a p yet counts as 1: the number of tests is that of the registration.
    """
    found = [_measured(study, records, wanted) for wanted in study.registered]
    known = [one.p_value if one else None for one in found]
    adjusted = holm([1.0 if p is None else p for p in known])
    return [
        Tested(
            wanted,
            replace(one, p_holm=None if p is None else value) if one else None,
            len(study.seeds),
        )
        for wanted, one, p, value in zip(study.registered, found, known, adjusted, strict=True)
    ]


def _measured(study: Study, records: Sequence[CellRecord], wanted: Registered) -> Contrast | None:
    rows = contrasts(
        records, wanted.task, wanted.set, [wanted.arm], wanted.against, [wanted.metric],
        study.strata,
    )  # fmt: skip
    return next((one for one in rows if one.group == wanted.group), None)


def registered_answer(rows: Sequence[Tested]) -> list[str]:
    """One sentence for each contrast."""
    return [f"- **{markdown_text(_name(one.wanted))}**: {_said(one)}" for one in rows]


def _said(one: Tested) -> str:
    found = one.found
    if found is None:
        return "not measured yet."
    span = found.over_seeds
    if span is None:
        return f"{one.verdict} ({points(found.difference)} points)."
    return (
        f"{one.verdict}; {points(found.difference)} points "
        f"({points(span.low)} to {points(span.high)} over {len(found.seeds)} seeds)."
    )


def _name(wanted: Registered) -> str:
    group = "" if wanted.group == "all" else f", {wanted.group}"
    return (
        f"{wanted.arm} {wanted.expected} {wanted.against}: "
        f"{find_metric(wanted.metric).title} on {wanted.set}{group}"
    )


def registered_table(rows: Sequence[Tested]) -> Table:
    """All registered contrasts with both intervals and Holm's p over them."""
    shown = []
    for one in rows:
        found = one.found
        values = [TableCell(DASH)] * 7
        if found is not None:
            spans = (found.over_seeds, found.over_items)
            values = [
                TableCell(str(len(found.seeds))),
                TableCell(percent(found.base)),
                TableCell(percent(found.value)),
                TableCell(points(found.difference)),
                *(TableCell(DASH if s is None else limits(s.low, s.high)) for s in spans),
                TableCell(DASH if found.p_holm is None else f"{found.p_holm:.2g}"),
            ]
        shown.append(row(_name(one.wanted), *values, one.verdict))
    return Table(
        "Registered contrasts",
        ["contrast", "seeds", "against", "arm's", "difference", "over seeds", "over items",
         "Holm p", "verdict"],
        shown,
        "Named before the runs and tested together: held or opposite where both intervals leave "
        "out 0 and Holm's p over these contrasts alone is below 0.05.",
    )  # fmt: skip
