"""Where kept actions came from over the steps of a study's runs: the paper's action-source curve.

The shares lie in MLflow, which does not travel; they are read from there once, as means over a
twentieth of a run's steps, and kept in ``sources.json`` beside the records, each with the digest of
the record that it belongs to: those of a cell that was run again count no more.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.files import write_text
from ekipl_lab.plots.figures import Point
from ekipl_lab.studies.config import Study
from ekipl_lab.studies.page_figures import draw
from ekipl_lab.studies.plan import Cell
from ekipl_lab.studies.record import RECORD, CellRecord, settings_hash
from ekipl_lab.tables import markdown_text, percent
from ekipl_lab.tracking import RunInfo, list_artifacts, list_runs, metric_history, run_artifact
from ekipl_lab.tracking.pages import PARENT_TAG
from ekipl_lab.training.checkpoint import read_note
from ekipl_lab.types import POLICY

FILE = "sources.json"
#: A run's steps are kept as so many means.
BINS = 20

#: [last step of a bin, mean share] of each.
Series = list[list[float]]


def gather_sources(cells: Sequence[Cell], folder: Path) -> None:
    """Add what MLflow has of finished cells with teachers, and ``sources.json`` does not."""
    noted = read_note(folder / FILE) or {}
    before = dict(noted)
    for cell in cells:
        steps = [f"{cell.name}.{i}" for i, s in enumerate(cell.steps, 1)
                 if s.sft is None and s.config.teachers]  # fmt: skip
        record = cell.finished() if steps else None
        if record is None or _kept(noted, record) is not None:
            continue
        whole = _run_of(cell)
        for run in list_runs(f"study-{cell.study.name}", name=steps[-1], status="FINISHED"):
            if whole is None or run.tags.get(PARENT_TAG) != whole.run_id:
                continue
            names = [n for n in run.metrics if n.startswith("share/") and n.endswith("/kept")]
            history = metric_history(run.run_id, names)
            kept = {n.split("/")[1]: in_bins(history[n]) for n in sorted(history)}
            noted[cell.name] = {"record": settings_hash(record.raw), "kept": kept}
            break
    if noted != before:
        write_text(folder / FILE, json.dumps(dict(sorted(noted.items()))) + "\n")


def _run_of(cell: Cell) -> RunInfo | None:
    """The MLflow run that made the cell's record; None where this store has it not."""
    written = cell.record.read_text(encoding="utf-8")
    for run in list_runs(f"study-{cell.study.name}", name=cell.name, status="FINISHED"):
        if RECORD not in list_artifacts(run):
            continue
        if run_artifact(run, RECORD).read_text(encoding="utf-8") == written:
            return run
    return None


def read_sources(folder: Path, records: Sequence[CellRecord]) -> dict[str, Mapping[str, Series]]:
    """Cell -> source -> its shares, of those of these records that have any."""
    noted = read_note(folder / FILE) or {}
    kept = {str(record.raw["cell"]): _kept(noted, record) for record in records}
    return {name: shares for name, shares in kept.items() if shares is not None}


def _kept(noted: Mapping[str, Any], record: CellRecord) -> Mapping[str, Series] | None:
    """The shares that were noted with this very record."""
    own = noted.get(str(record.raw["cell"])) or {}
    return own["kept"] if own.get("record") == settings_hash(record.raw) else None


def in_bins(points: Sequence[tuple[float, float]], bins: int = BINS) -> Series:
    """(step, share) points as means over ``bins`` runs of neighbours, each at its last step."""
    edges = [round(i * len(points) / bins) for i in range(bins + 1)]
    parts = [points[a:b] for a, b in itertools.pairwise(edges) if b > a]
    return [[part[-1][0], round(statistics.mean(y for _, y in part), 4)] for part in parts]


def sources_section(study: Study, records: Sequence[CellRecord], folder: Path) -> str:
    """Share of kept actions that came from teachers: a figure by task, and a sentence an arm."""
    known = read_sources(folder, records)
    shown: list[str] = []
    for task in dict.fromkeys(record.task for record in records):
        cells = {
            arm: [
                known[one.raw["cell"]] for one in records
                if (one.task, one.arm) == (task, arm) and one.raw["cell"] in known
            ]
            for arm in study.arms
        }  # fmt: skip
        curves = {arm: curve for arm, of in cells.items() if (curve := teacher_share(of))}
        if not curves:
            continue
        path = folder / f"sources-{task}.svg"
        title = f"{task}: kept actions that are teachers'"
        axes = ("optimiser steps", "share of kept actions")
        if missing := draw(study, curves, path, title, *axes):
            return f"No figure of sources: {missing}"
        count = Counter(record.arm for record in records if record.task == task)
        ends = "; ".join(
            f"{markdown_text(arm)} {percent(curve[0].y)} to {percent(curve[-1].y)} % "
            f"({len(cells[arm])} of {count[arm]} seeds)"
            for arm, curve in curves.items()
        )
        shown.append(
            f"### Where kept actions came from: {markdown_text(task)}\n\nShare of teachers' among "
            f"kept actions, first to last {len(next(iter(curves.values())))}th of the steps (mean "
            "over the seeds whose shares were kept; the band is lowest to highest): "
            f"{ends}.\n\n![Share of teachers' among kept actions over the steps]({path.name})"
        )
    return "\n\n".join(shown)


def teacher_share(cells: Sequence[Mapping[str, Series]]) -> list[Point]:
    """1 - the policy's share, mean over cells, where all have that step; lowest and highest."""
    at: dict[float, list[float]] = {}
    for cell in cells:
        for step, share in cell.get(POLICY, []):
            at.setdefault(step, []).append(1 - share)
    whole = {step: values for step, values in at.items() if len(values) == len(cells)}
    return [Point(x, statistics.mean(y), min(y), max(y)) for x, y in sorted(whole.items())]
