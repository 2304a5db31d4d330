"""Cells of a study that were run again elsewhere, beside their committed records.

    python -m perf.rerun             # rewrite the table of docs/experiments.md
    python -m perf.rerun --print

In a fresh clone, with the cell's record deleted, run the command that the record holds (`ekipl
compare STUDY --cell NAME`), on another machine or with other kernels, and put the new record into
results/rerun/STUDY/. Each figure is compared twice: over the same items (paired, as two runs), and
with what the committed seeds of that arm lead one to expect of one more run: their mean and the
95 % interval of a new value, mean +- t s sqrt(1 + 1/n).
"""

from __future__ import annotations

import argparse
import sys
from math import sqrt
from pathlib import Path

from ekipl_lab.errors import DataError
from ekipl_lab.evaluation import compare
from ekipl_lab.files import put_between, write_text
from ekipl_lab.statistics import paired_t
from ekipl_lab.studies.record import CellRecord, read_record, read_records_of
from ekipl_lab.tables import pipe_table

ROOT = Path(__file__).resolve().parent.parent
AGAIN, STUDIES = ROOT / "results" / "rerun", ROOT / "results" / "studies"
DOC = ROOT / "docs" / "experiments.md"
BEGIN, END = "<!-- rerun: generated, do not edit -->", "<!-- rerun: end -->"
FIGURES = {"accuracy_greedy": "greedy", "pass_at_1": "pass@1", "pass_at_8": "pass@8"}


def expected(values: list[float]) -> tuple[float, float]:
    """The 95 % prediction interval of one more value, from at least two independent ones."""
    mean = paired_t(values)
    half = (mean.high - mean.value) * sqrt(mean.n + 1)
    return mean.value - half, mean.value + half


def rows(again: CellRecord, study: list[CellRecord]) -> list[list[str]]:
    """Set and figure -> recorded, again, difference over items, expected of the arm; in points."""
    seeds = [record for record in study if (record.arm, record.task) == (again.arm, again.task)]
    (recorded,) = [record for record in seeds if record.seed == again.seed]
    if recorded.raw["settings"] != again.raw["settings"]:
        raise DataError(f"{again.raw['cell']} was run again with other settings.")
    found = []
    for name in again.records:
        for metric, label in FIGURES.items():
            before, after, all_seeds = (
                [100 * record.raw["final"][name]["all"][metric] for record in records]
                for records in ([recorded], [again], seeds)
            )
            low, high = expected(all_seeds)
            found.append([
                f"{again.raw['study']}, {again.arm}, {again.seed}", name, label,
                f"{before[0]:.1f}", f"{after[0]:.1f}", paired(recorded, again, name, metric),
                f"{low:.1f} to {high:.1f}", "yes" if low <= after[0] <= high else "**no**",
            ])  # fmt: skip
    return found


def paired(recorded: CellRecord, again: CellRecord, name: str, metric: str) -> str:
    """Again minus recorded over the same items, in points; nothing for pass@8."""
    mode = {"accuracy_greedy": "greedy", "pass_at_1": "sampled"}.get(metric)
    if mode is None:
        return ""
    one, two = ([r for r in cell.records[name] if r.mode == mode] for cell in (again, recorded))
    found = compare(one, two)
    return f"{100 * found.difference:+.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def table(folder: Path = AGAIN, studies: Path = STUDIES) -> str:
    """All cells run again, as one table."""
    found = []
    for path in sorted(folder.glob("*/*.json")):
        record = read_record(path)
        assert record is not None
        found += rows(record, read_records_of(studies / path.parent.name))
    head = ["study, arm, seed", "set", "figure", "recorded", "again", "difference over items",
            "expected of one more run", "within"]  # fmt: skip
    return pipe_table(head, found, {3, 4})


def main(arguments: list[str] | None = None) -> int:
    """Print the table, or put it into its page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true")
    shown = table()
    if parser.parse_args(arguments).print:
        print(shown)
    else:
        write_text(DOC, put_between(DOC.read_text(encoding="utf-8"), BEGIN, END, shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
