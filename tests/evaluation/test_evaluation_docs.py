"""The pages on evaluation and scoring: figures are those of the code, examples run as printed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from paths import ROOT

from ekipl_lab.commands.cli import main
from ekipl_lab.evaluation.metrics import metrics_table
from ekipl_lab.tracking import list_runs

EVALUATION = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
SCORING = (ROOT / "docs/scoring.md").read_text(encoding="utf-8")

#: What makes a command of the pages short; of an option that is given twice, the last one counts.
SHORTER = {
    "ekipl train": "grpo.max_steps=1 grpo.num_generations=2 grpo.per_device_train_batch_size=4 "
    "data.limit=8 'evaluation.sets=[{split: test, limit: 2}]'",
    "ekipl eval": "--limit 6 --samples 2 --max-new-tokens 8",
    "python perf/evaluation_speed.py": "--samples 2 --repeats 1",
}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the commands of the pages find what they name, with a store of its own."""
    for name in ("assets", "configs", "perf"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def commands(page: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def run_command(line: str) -> None:
    options = next((more for start, more in SHORTER.items() if line.startswith(start)), "")
    if line.startswith("ekipl "):
        assert main(shlex.split(f"{line} {options}")[1:]) == 0
    else:
        command = f"{shlex.quote(sys.executable)} {line.removeprefix('python ')} {options}"
        subprocess.run(command, shell=True, check=True, capture_output=True)


def test_the_worked_example(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = commands(EVALUATION)
    assert [line.split()[1] for line in lines] == [
        *("train", "eval", "eval", "report"),
        "perf/evaluation_speed.py",
    ]
    for line in lines:
        runs = list_runs()
        run_command(line.replace("mlflow:RUN", f"mlflow:{runs[0].run_id}") if runs else line)
    printed = capsys.readouterr().out
    headings = re.findall(r"^( (?:set|family) .*)$", EVALUATION, re.MULTILINE)
    assert len(headings) == 3
    for heading in headings:
        assert re.search(r"\s+".join(heading.split()), printed), heading
    assert "none of these samples or images is in the 8 training samples of run" in printed
    kept = {path.name for path in Path("mlruns/eval/ekipl").iterdir()}
    section = EVALUATION.partition("## What is kept")[2].partition("\nThe same command")[0]
    for name in re.findall(r"`([\w.-]+)/?`", section):
        assert name.replace("NAME", "question_only") in kept
    for ending in ("html", "md", "tex", "csv"):
        assert Path(f"mlruns/ekipl.{ending}").is_file()
    assert len(Path("results/evaluation_speed.jsonl").read_text().splitlines()) == 2


def test_the_python_example(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", SCORING, re.DOTALL)
    exec(compile(program, "docs/scoring.md", "exec"), {})
    printed = capsys.readouterr().out
    for metric in ("accuracy_greedy", "pass_at_1", "pass_at_4", "majority_vote", "length_sampled"):
        assert re.search(rf"^{metric} +\d+\.\d{{3}} \(.*\), 12 items$", printed, re.MULTILINE)
    assert (clone / "mlruns/eval/greedy/key.json").is_file()


def test_the_table_of_metrics_is_the_one_in_the_code() -> None:
    table = SCORING.partition("<!-- metrics:begin -->\n")[2].partition("\n<!-- metrics:end -->")[0]
    assert table == metrics_table()


def test_the_throughput_is_the_recorded_one() -> None:
    lines = (ROOT / "results/evaluation_speed.jsonl").read_text(encoding="utf-8").splitlines()
    ratios: dict[str, list[float]] = {}
    for row in map(json.loads, lines):
        ratios.setdefault(row["mode"], []).append(row["plain_s"] / row["evaluate_s"])
    for mode, words in (
        ("greedy", "{} times the throughput greedily (median of 5 repeats, {} to {})"),
        ("sampled", "{} times with 32 samples per item ({} to {})"),
    ):
        found = ratios[mode]
        assert len(found) == 5 and min(found) >= 1.5
        assert words.format(*(f"{f(found):.1f}" for f in (median, min, max))) in EVALUATION
