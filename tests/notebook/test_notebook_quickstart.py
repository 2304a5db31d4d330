"""The quickstart, executed: trained, stopped, looked into, resumed; one run; equal groups."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest
from paths import ROOT

from ekipl_lab import records, tracking

NOTEBOOKS = ROOT / "notebooks"


def outputs(notebook: nbformat.NotebookNode) -> str:
    """All text that the cells printed."""
    return "".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    )


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """MIME types of everything that was displayed, in order."""
    return [
        kind
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output
        for kind in output.data
    ]


def test_the_committed_notebook_is_its_source_with_outputs() -> None:
    source = jupytext.read(NOTEBOOKS / "00_quickstart.py")
    committed = nbformat.read(NOTEBOOKS / "00_quickstart.ipynb", as_version=4)
    pairs = [(cell.cell_type, cell.source) for cell in committed.cells]
    assert pairs == [(cell.cell_type, cell.source) for cell in source.cells]
    assert all(cell.execution_count for cell in committed.cells if cell.cell_type == "code")
    assert (NOTEBOOKS / "00_quickstart.ipynb").stat().st_size < 500_000
    kinds = shown(committed)
    assert "text/html" in kinds and "image/svg+xml" in kinds
    # every plotly figure has a picture beside it, for viewers without scripts
    assert kinds.count("application/vnd.plotly.v1+json") == 2
    assert kinds.count("image/png") >= 3


def test_the_quickstart_trains_stops_and_resumes_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    jupytext.write(jupytext.read(NOTEBOOKS / "00_quickstart.py"), tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb",
        tmp_path / "out.ipynb",
        parameters={"MODE": "quick", "NAME": "tested"},
        kernel_name="python3",
        cwd=NOTEBOOKS,
        progress_bar=False,
    )
    text = outputs(done)
    (run,) = tracking.list_runs()
    assert (run.name, run.status, run.experiment) == ("tested", "FINISHED", "notebooks")
    assert f"run {run.run_id}" in text.split("stopped at step ")[1].splitlines()[0]
    assert f"finished at step 12, run {run.run_id}" in text
    assert int(text.split("stopped at step ")[1].split(",")[0]) < 12
    assert "fields that differ: []" in text
    steps = [step for step, _ in tracking.metric_history(run.run_id)["policy/reward"]]
    assert steps == list(range(1, 13))
    folder = tracking.run_artifact(run.run_id, "groups")
    assert records.list_steps(folder) == steps
