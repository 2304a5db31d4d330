"""Every notebook: it is its source, its outputs are sound, and it runs in a fresh process."""

from __future__ import annotations

import datetime
import json
import re
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter

from scripts import notebooks

SOURCES = notebooks.sources()
NAMES = [path.stem for path in SOURCES]
#: Not among those that take turns in the normal suite: 00 has a test of its own, the others take
#: longer than a minute.
NOT_IN_TURN = {"00_quickstart"}
IN_TURN = [path for path in SOURCES if path.stem not in NOT_IN_TURN] or SOURCES


def run(source: Path, store: Path) -> None:
    begin = time.monotonic()
    executed = notebooks.execute(source, "quick", store)
    assert time.monotonic() - begin < notebooks.MAX_SECONDS
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert outputs
    assert [problem for output in outputs for problem in notebooks.output_problems(output)] == []
    committed = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert kinds(executed) == kinds(committed)


def kinds(notebook: nbformat.NotebookNode) -> list[set[str]]:
    """What each code cell shows, by type."""
    return [
        {kind for output in cell.outputs for kind in output.get("data", {output.output_type: ""})}
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_a_committed_notebook_is_its_source_with_sound_outputs(source: Path) -> None:
    assert list(notebooks.problems(source.with_suffix(".ipynb"))) == []


FIGURES = {"image/png", "image/jpeg", "image/svg+xml", notebooks.PLOTLY}


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_exported_html_shows_every_output(source: Path) -> None:
    """A picture where the output is a figure, and nowhere an object's name in its place."""
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    page = BeautifulSoup(HTMLExporter().from_notebook_node(notebook)[0], "html.parser")
    areas = page.select(".jp-OutputArea-output")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert len(areas) == len(outputs)
    for area, shown in zip(areas, outputs, strict=True):
        data = shown.get("data", {})
        figure = bool(FIGURES & set(data)) and "text/html" not in data
        pictures = [image["src"] for image in area.find_all("img")] + area.find_all("svg")
        assert bool(pictures) or not figure
        assert all(str(one).startswith(("data:image/", "<svg")) for one in pictures)
        text = area.get_text().strip()
        assert pictures or text
        assert not text.startswith("<") and "Traceback" not in text


def test_the_notebook_whose_turn_it_is_runs(tmp_path: Path) -> None:
    run(IN_TURN[datetime.date.today().toordinal() % len(IN_TURN)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_every_notebook_runs(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path)


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_cells_compile_and_know_two_modes(source: Path) -> None:
    """What only `MODE=full` executes is at least Python, and no third mode is asked for."""
    cells = [cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells):
        compile(cell, f"{source.name}, code cell {number}", "exec")
    asked = re.findall(r'MODE [!=]= "(\w+)"', "\n".join(cells))
    assert set(asked) <= {"quick", "full"} and 'os.environ.get("MODE", "quick")' in "".join(cells)


def test_the_table_of_times_is_that_of_the_record() -> None:
    times = json.loads(notebooks.TIMES.read_text(encoding="utf-8"))
    assert sorted(times) == NAMES  # --time ran through all of them
    assert all(took["processor_seconds"] < notebooks.MAX_SECONDS for took in times.values())
    assert notebooks.time_table(times) in notebooks.PAGE.read_text(encoding="utf-8")


def output(**fields: object) -> nbformat.NotebookNode:
    return nbformat.from_dict({"output_type": "display_data", **fields})


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (output(output_type="error", ename="KeyError"), "ends in KeyError"),
        (output(output_type="stream", name="stderr", text="Warning: x\ny"), "stderr: Warning: x"),
        (output(data={"image/svg+xml": "<svg/>"}), "without a PNG"),
        (output(output_type="stream", name="stdout", text="saved to /tmp/x1/a"), "names a folder"),
        (output(data={"text/html": "<b>/home/me/x</b>"}), "names a folder"),
        (output(data={"text/html": "<td>a long te...</td>"}), "cuts off a text"),
        (output(output_type="stream", name="stdout", text="x {'accuracy': 1.0}"), "shows a dict"),
        (output(data={"text/plain": "{'accuracy': 1.0}"}), "shows a dict"),
    ],
)
def test_a_wrong_output_is_found(wrong: nbformat.NotebookNode, problem: str) -> None:
    (found,) = notebooks.output_problems(wrong)
    assert problem in found


def test_a_sound_output_is_not_complained_about() -> None:
    picture = {"image/svg+xml": "<svg/>", "image/png": "a/tmp/x"}
    assert list(notebooks.output_problems(output(data=picture))) == []
    page = {"text/html": '<img src="data:image/png;base64,ab/tmp/xyz+=">', "text/plain": "{'a': 1}"}
    assert list(notebooks.output_problems(output(data=page))) == []


def test_a_notebook_that_was_changed_or_not_executed_is_found(tmp_path: Path) -> None:
    (tmp_path / "05_x.py").write_text("# %%\nprint(2)\n", encoding="utf-8")
    cell = nbformat.v4.new_code_cell("print(1)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "05_x.ipynb")
    found = list(notebooks.problems(tmp_path / "05_x.ipynb"))
    assert "differs from its source" in found[0] and "cell 0 was not executed" in found[1]
