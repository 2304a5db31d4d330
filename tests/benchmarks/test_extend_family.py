"""A family and a task are added exactly as docs/extend/question_family.md prints it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from paths import ROOT

PAGE = (ROOT / "docs" / "extend" / "question_family.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(command: list[str], folder: Path, text: str | None = None) -> str:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=env, input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_works_as_it_stands(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ekipl_lab", tmp_path / "ekipl_lab", ignore=ignored)
    task, use = blocks("python")
    named = re.search(r"One file, here `([^`]+)`", PAGE)
    assert named is not None
    path = tmp_path / named[1]
    path.parent.mkdir()
    path.with_name("__init__.py").touch()
    path.write_text(task, encoding="utf-8")
    for change in blocks("diff"):
        run(["git", "apply", "-"], tmp_path, change)
    told = run([sys.executable, "-c", use], tmp_path)
    assert "Left are the two left columns" in told
    assert "a list of whole numbers separated by commas" in told


def test_nothing_else_has_to_be_touched() -> None:
    """Outside its folder, one file: the registry."""
    changed = re.findall(r"^\+\+\+ b/(.*)$", "".join(blocks("diff")), re.MULTILINE)
    assert changed == [
        "ekipl_lab/benchmarks/mini/transformation/sampling.py",
        "ekipl_lab/benchmarks/mini/__init__.py",
    ]
