"""Notebook 10: own data, a tiny policy, a reward, a teacher, a run, before and after."""

from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest
from paths import ROOT

from ekipl_lab import tracking

SOURCE = ROOT / "notebooks" / "10_your_own_task.py"


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")


def test_the_committed_notebook_is_its_source_with_outputs() -> None:
    committed = nbformat.read(SOURCE.with_suffix(".ipynb"), as_version=4)
    pairs = [(cell.cell_type, cell.source) for cell in committed.cells]
    assert pairs == [(cell.cell_type, cell.source) for cell in jupytext.read(SOURCE).cells]
    assert all(cell.execution_count for cell in committed.cells if cell.cell_type == "code")
    assert "finished at step" in printed(committed)
    assert SOURCE.with_suffix(".ipynb").stat().st_size < 500_000


@pytest.mark.slow
def test_it_goes_from_files_to_a_compared_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    jupytext.write(jupytext.read(SOURCE), tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb",
        tmp_path / "out.ipynb",
        parameters={"NAME": f"tested_{tmp_path.name}"},
        kernel_name="python3",
        cwd=SOURCE.parent,
        progress_bar=False,
    )
    (run,) = tracking.list_runs()
    assert f"finished at step 6, run {run.run_id}" in printed(done)
    assert "95 % interval" in printed(done)
