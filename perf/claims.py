"""The paper's claims beside what the confirming study measured: the table in docs/experiments.md.

    python -m perf.claims

Made of the records in results/studies/counting_confirm alone; run it after `ekipl compare`.
"""

from __future__ import annotations

from pathlib import Path

from ekipl_lab.files import put_between, write_text
from ekipl_lab.studies.config import load_study
from ekipl_lab.studies.plan import study_folder
from ekipl_lab.studies.record import read_records_of
from ekipl_lab.studies.registered import Tested, registered_contrasts
from ekipl_lab.tables import points

ROOT = Path(__file__).resolve().parent.parent
STUDY, DOC = ROOT / "configs/studies/counting_confirm.yaml", ROOT / "docs/experiments.md"
BEGIN, END = "<!-- claims: generated, do not edit -->", "<!-- claims: end -->"

#: Claim or question -> the numbers of its registered contrasts (docs/preregistration.md).
CLAIMS = {
    "The paper: more accurate than GRPO": (3,),
    "The paper: a wider reasoning boundary than GRPO's": (4, 5),
    "Reviewer: does it keep what was solved?": (6,),
    "Reviewer: is it better than supervised steps on the same teacher actions?": (7,),
    "Reviewer: is it better than those steps, then GRPO?": (2,),
    "The paper: after a supervised warm start": (1, 10),
    "The paper: better out of domain, after that warm start": (11,),
    "GRPO after supervised steps against GRPO alone": (8, 9, 12),
}


def table() -> str:
    """A row for each contrast of each claim, as Markdown."""
    study = load_study(STUDY)
    tested = registered_contrasts(study, read_records_of(study_folder(study)))
    lines = ["| claim or question | contrast | difference, points | seeds | verdict |",
             "|---|---|---|---|---|"]  # fmt: skip
    for claim, numbers in CLAIMS.items():
        lines += [_row(claim, number, tested[number - 1]) for number in numbers]
    return "\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Write the table."""
    page = DOC.read_text(encoding="utf-8")
    write_text(DOC, put_between(page, BEGIN, END, table()))


def _row(claim: str, number: int, one: Tested) -> str:
    wanted, found = one.wanted, one.found
    group = "" if wanted.group == "all" else f", {wanted.group}"
    what = f"{number}: {wanted.arm} {wanted.expected} {wanted.against}, {wanted.metric}"
    told = "–"
    if found is not None and found.over_seeds is not None:
        span = found.over_seeds
        told = f"{points(found.difference)} ({points(span.low)} to {points(span.high)})"
    seeds = str(len(found.seeds)) if found else "0"
    cells = (claim, f"`{what}` on {wanted.set}{group}", told, seeds, one.verdict)
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
