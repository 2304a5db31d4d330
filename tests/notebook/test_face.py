"""``import ekipl_lab as ek``: light, complete, and docs/notebook_api.md line by line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

import ekipl_lab as ek
from ekipl_lab import benchmarks
from ekipl_lab.errors import ConfigError

PAGE = (ROOT / "docs" / "notebook_api.md").read_text(encoding="utf-8")
ITEM = "mini/counting/validation/s0/count_pair/000000"


def test_the_import_loads_nothing() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import ekipl_lab as ek\n"
        "dir(ek)\n"
        "new = set(sys.modules) - before\n"
        "print(sorted(name for name in new if name.startswith('ekipl_lab')), len(new) < 40)\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'pyarrow', 'numpy', 'pandas', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['ekipl_lab'] True", "[]"]


def test_every_name_is_there_and_on_the_page() -> None:
    names = [name for name in dir(ek) if not name.startswith("_")]
    assert len(names) >= 12
    for name in names:
        assert callable(getattr(ek, name))
        assert re.search(rf"`{name}\b", PAGE), name
    with pytest.raises(AttributeError, match="has no attribute 'scoer'"):
        _ = ek.scoer  # type: ignore[attr-defined]


def test_no_name_is_hidden_by_a_package() -> None:
    packages = {path.stem for path in (ROOT / "ekipl_lab").iterdir()}
    assert packages.isdisjoint(name for name in dir(ek) if not name.startswith("_"))


def test_every_line_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # a notebook does not run in the project's root
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, found)
    assert len(found["actions"]) == 6
    summary = found["ours"].summary
    assert list(summary.columns) == ["metric", "value", "low", "high", "n", "method"]
    assert summary["n"].max() == 16
    assert "family" in found["ours"].by("family").columns
    (row,) = ek.runs("from_a_notebook").to_dict("records")
    assert (row["run_id"], row["status"]) == (found["result"].run_id, "FINISHED")
    assert row["method"] == "ekipl" and 0 <= row["test/accuracy"] <= 1
    assert ek.runs("no_such_run").empty
    groups = ek.load_groups(found["result"].run_id, 1)
    assert groups and all(group.sample.images for group in groups)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_group_of_actions_by_hand() -> None:
    sample = benchmarks.load_sample(ITEM)
    right = f"<think>so</think><answer>{sample.answer}</answer>"
    wrong = "<think>so</think><answer>0 0</answer>"
    assert ek.score(sample, right).total == 2.0
    assert ek.score(sample, wrong, weights={"accuracy": 1.0}).total == 0.0
    actions = [ek.Action(wrong, "policy", "p"), ek.Action(wrong, "policy", "p")]
    group = ek.build_group(sample, [*actions, ek.Action(right, "teacher", "t")])
    # totals 1, 1, 2: the teacher's and the first of the policy's are kept
    assert group.kept == (0, 2) and group.rule == "top_g"
    assert ek.build_group(sample, actions, rule="policy_only").advantages == (0.0, 0.0)


def test_a_teacher_is_named_by_its_type_and_mistakes_are_said() -> None:
    assert ek.build_teacher({"type": "oracle"}).id == "oracle"
    assert ek.build_teacher({"type": "random", "id": "guesser"}).id == "guesser"
    with pytest.raises(ConfigError, match="did you mean 'oracle'"):
        ek.build_teacher({"type": "oracel"})


def test_what_is_shown_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *things: shown.extend(things))
    ek.show(ek.Action("<script>1</script>", "policy", "tiny"))
    sample = benchmarks.load_sample(ITEM)
    ek.show(sample)
    ek.show(ek.build_group(sample, [ek.Action("<u>2</u>", "policy", "tiny")] * 2))
    assert "&lt;script&gt;" in shown[0].data and "<script>" not in shown[0].data
    assert shown[1].size == (168, 168) and sample.question in shown[2].data
    assert "&lt;u&gt;2" in shown[3].data
