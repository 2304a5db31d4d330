"""What docs/tracking.md shows works, block after block, on a store with runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
from synthetic_runs import make_run


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    make_run("arm", gain=0.2, teachers=("oracle",), work=tmp_path, steps=2, items=4)
    text = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 5
    # The block that writes a run of its own comes last: the others read the latest run.
    writing = [block for block in blocks if "open_run" in block]
    reading = [block for block in blocks if "open_run" not in block]
    code = "".join(reading) + "print('html', len(html), shares[0]['source'])\n" + "".join(writing)
    done = subprocess.run(
        [sys.executable, "-c", "from ekipl_lab import tracking\n" + code],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^html \d{7} oracle$", done.stdout, flags=re.MULTILINE)
