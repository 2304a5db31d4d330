"""scripts/verify.py: what is done at a revision is not done again, what failed or died is."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

from paths import ROOT

SCRIPT = ROOT / "scripts" / "verify.py"

#: Three steps that note their name; "fragile" fails, or kills the whole, until it finds its file.
PRELUDE = """
import importlib.util, os, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("verify", {script!r})
verify = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verify)
folder = Path({folder!r})
verify.ROOT, verify.RESULTS = folder, folder / "verify"
verify.git = lambda *arguments: {{"rev-parse": "abc"}}.get(arguments[0], {status!r})
note = "open('log', 'a').write({{0!r}} + ' ')"
fragile = "import os; os.path.exists('fixed') or {fault}"
verify.steps = lambda: {{
    "first": [sys.executable, "-c", note.format("first")],
    "fragile": [sys.executable, "-c", note.format("fragile") + "; " + fragile],
    "last": [sys.executable, "-c", note.format("last")],
}}
sys.argv = ["verify.py", *{arguments!r}]
sys.exit(verify.main())
"""


def start(folder, fault, status="", arguments=()):
    values = {"folder": str(folder), "fault": fault, "status": status}
    code = PRELUDE.format(script=str(SCRIPT), arguments=list(arguments), **values)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.returncode, done.stdout


def log(folder):
    return (folder / "log").read_text().split()


def test_what_failed_runs_again_and_nothing_else(tmp_path):
    code, text = start(tmp_path, "exit(3)")
    assert code == 1 and "2 steps passed, 1 failed: verify/abc.json" in text
    (tmp_path / "fixed").touch()
    code, text = start(tmp_path, "exit(3)")
    assert code == 0 and "3 steps passed, 0 failed" in text
    assert log(tmp_path) == ["first", "fragile", "last", "fragile"]
    evidence = json.loads((tmp_path / "verify" / "abc.json").read_text())
    assert {name: step["returncode"] for name, step in evidence["steps"].items()} == {
        "first": 0, "fragile": 0, "last": 0,
    }  # fmt: skip
    assert evidence["revision"] == "abc" and evidence["date"]


def test_killed_in_a_step_it_goes_on_with_that_step(tmp_path):
    code, _ = start(tmp_path, f"os.kill(os.getppid(), {signal.SIGKILL})")
    assert code == -signal.SIGKILL and log(tmp_path) == ["first", "fragile"]
    (tmp_path / "fixed").touch()
    assert start(tmp_path, "exit(3)")[0] == 0
    assert log(tmp_path) == ["first", "fragile", "fragile", "last"]


def test_steps_are_chosen_by_a_part_of_their_name_and_run_side_by_side(tmp_path):
    code, text = start(tmp_path, "exit(3)", arguments=["--jobs", "2", "--only", "fir", "last"])
    assert code == 0 and "2 steps passed, 0 failed" in text
    assert sorted(log(tmp_path)) == ["first", "last"]
    code, text = start(tmp_path, "exit(3)", arguments=["--jobs", "2"])
    assert code == 1 and "2 steps passed, 1 failed" in text
    assert sorted(log(tmp_path)) == ["first", "fragile", "last"]
    assert start(tmp_path, "exit(3)", arguments=["--only", "nothing"])[0] == 1


def test_changed_files_are_no_revision(tmp_path):
    (tmp_path / "fixed").touch()
    for _ in range(2):
        assert start(tmp_path, "exit(3)", status=" M ekipl_lab/commands/cli.py")[0] == 0
    assert log(tmp_path) == ["first", "fragile", "last"] * 2
    assert [path.name for path in (tmp_path / "verify").iterdir()] == ["abc-dirty.json"]


def test_every_test_file_is_a_step_without_the_limits_of_the_fast_suite():
    spec = importlib.util.spec_from_file_location("verify", SCRIPT)
    verify = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verify)
    commands = verify.steps()
    assert {"ruff", "mypy", "tests/training/test_trainer_kills.py"} <= set(commands)
    assert not any("not slow" in part for command in commands.values() for part in command)
    assert Path(commands["mypy"][0]).name.startswith("python")
