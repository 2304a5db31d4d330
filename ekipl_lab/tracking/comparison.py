"""Runs that belong together: the arms of a comparison, nested under one run in MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from ekipl_lab.tracking.pages import NOTE_TAG, PARENT_TAG
from ekipl_lab.tracking.queries import RunInfo, list_runs
from ekipl_lab.tracking.queue import retrying
from ekipl_lab.tracking.runlog import open_run
from ekipl_lab.tracking.store import client

#: Tag of the arms of a comparison and of the run above them; its value tells comparisons apart.
COMPARISON_TAG = "ekipl.comparison"


def comparison_run(
    experiment: str, arms: Sequence[str], settings: object, *, fresh: bool = False
) -> RunInfo:
    """The run that the arms are under: that of an earlier start with equal settings, else new."""
    key = hashlib.sha256(json.dumps(settings, default=str).encode()).hexdigest()[:12]
    name = " against ".join(arms)[:200]
    for run in [] if fresh else list_runs(experiment, name=name):
        if run.tags.get(COMPARISON_TAG) == key and PARENT_TAG not in run.tags:
            return run
    note = "A comparison; its arms are the runs below it. The report's answer follows at its end."
    with open_run(experiment, name, tags={COMPARISON_TAG: key, NOTE_TAG: note}) as log:
        run_id = log.run_id
    return next(run for run in list_runs(experiment, name=name) if run.run_id == run_id)


def join(run_id: str, parent: RunInfo) -> None:
    """Put a run under a comparison."""
    tags = {PARENT_TAG: parent.run_id, COMPARISON_TAG: parent.tags[COMPARISON_TAG]}
    for name, value in tags.items():
        retrying(client().set_tag, run_id, name, value)


def describe(run_id: str, sentences: Sequence[str]) -> None:
    """Make these sentences a run's description, which MLflow shows as Markdown."""
    retrying(client().set_tag, run_id, NOTE_TAG, "\n\n".join(sentences)[:5000])


def run_together(latest: RunInfo, finished: Sequence[RunInfo]) -> list[RunInfo]:
    """The finished runs of the comparison of ``latest``, newest first.

    A run outside of a comparison stands with those of its experiment that ran at the same time.
    """

    def place(run: RunInfo) -> tuple[str | None, str | None]:
        return run.tags.get(COMPARISON_TAG), run.tags.get(PARENT_TAG)

    if COMPARISON_TAG in latest.tags:  # imported arms have left the run above them behind
        return [run for run in finished if place(run) == place(latest)]
    return [
        run
        for run in finished
        if run.experiment == latest.experiment
        and COMPARISON_TAG not in run.tags
        and (run.end or run.start) >= latest.start
    ]
