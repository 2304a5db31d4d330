"""Records that were written on a machine which shares no folder with this one: from MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ekipl_lab.files import write_text
from ekipl_lab.studies.plan import Cell
from ekipl_lab.studies.record import RECORD
from ekipl_lab.studies.run import CELL_TAG
from ekipl_lab.tracking import list_artifacts, list_runs, run_artifact


def gather(cells: Iterable[Cell]) -> list[str]:
    """Fetch the records that are not here, each from the newest finished run of its cell.

    A record of other settings is left where it is. Gives the names of the cells fetched.
    """
    found = []
    for cell in cells:
        if cell.record.exists():
            continue
        for run in list_runs(f"study-{cell.study.name}", name=cell.name, status="FINISHED"):
            if run.tags.get(CELL_TAG) != cell.name or RECORD not in list_artifacts(run):
                continue
            text = run_artifact(run, RECORD).read_text(encoding="utf-8")
            if json.loads(text)["settings"] == cell.settings:
                write_text(cell.record, text)
                found.append(cell.name)
                break
    return found
