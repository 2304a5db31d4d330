"""docs/tutorial.md: the program and every command, in the order of the page, made short."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from ekipl_lab.commands.cli import main

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
#: What makes a command short; of an option or override given twice, the last one counts.
SHORTER = {
    "python dots.py": "20",
    "ekipl sft": "--steps 1",
    "ekipl compare": "grpo.max_steps=1 grpo.num_generations=2 grpo.per_device_train_batch_size=4 "
    "evaluation.num_samples=2 'evaluation.ks=[1, 2]' evaluation.at_start=false",
}


def shorter(line: str) -> str:
    """Overrides go before the options, as in the line itself."""
    more = next((more for start, more in SHORTER.items() if line.startswith(start)), "")
    command, report, page = line.partition(" --report")
    return f"{command} {more}{report}{page}"


@pytest.mark.slow
def test_the_tutorial_from_its_first_command_to_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "dots.py").write_text(program, encoding="utf-8")
    assert LINES[:3] == ["make setup", "source .venv/bin/activate", "ekipl doctor"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in LINES[3:]:
        if line.startswith("ekipl "):
            assert main(shlex.split(shorter(line))[1:]) == 0
        else:
            subprocess.run(shorter(line), shell=True, check=True, env=environment)
    said = capsys.readouterr().out
    assert "sound" in said and "other pictures" in said
    text = Path("policies/dots/ekipl.yaml").read_text(encoding="utf-8")
    assert "name: dots_ekipl" in text and "selection: top_g" in text
    assert "dots_ekipl" in Path("mlruns/dots.csv").read_text(encoding="utf-8")
    assert Path("mlruns/dots.html").is_file()
