"""docs/extend/app_view.md, done exactly as it is printed: one file, one line, served, fetched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from page_kit import Browser
from paths import ROOT

from ekipl_lab import tracking

PAGE = (ROOT / "docs" / "extend" / "app_view.md").read_text(encoding="utf-8")
FILE, LINE, PROGRAM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The app with the view of the page added."""
    shutil.copytree(ROOT / "app", tmp_path / "app")
    (tmp_path / "app" / "views" / "checkpoints.py").write_text(FILE, encoding="utf-8")
    registry = tmp_path / "app" / "views" / "__init__.py"
    before = registry.read_text(encoding="utf-8")
    after = before.replace('    "recorded",\n', f'    "recorded",\n{LINE}')
    assert after.count("\n") == before.count("\n") + 1
    registry.write_text(after, encoding="utf-8")
    return tmp_path


def test_a_view_is_one_file_and_one_line(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{clone}/mlflow.db")
    with tracking.open_run("synthetic", "first <run>", {}, {"name": "first"}, {}) as log:
        run = log.run_id
    with subprocess.Popen(
        [sys.executable, "-m", "app", "--port", "0"],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            address = found.group()
            program = PROGRAM.replace("http://127.0.0.1:7860", address)
            named: dict[str, str] = {}
            exec(program, named)
            browser = Browser(address, "view=checkpoints")
        finally:
            process.terminate()
    assert "<td>start (step 0), before training</td>" in named["page"]
    assert browser.query == f"run={run}&view=checkpoints"
    assert browser["checkpoints-run"]["value"] == run
    assert browser.stage == named["page"]
