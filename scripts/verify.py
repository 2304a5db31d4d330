#!/usr/bin/env python3
"""The long proofs: every test, slow ones too, a process for each file. Resumable.

    make verify [ARGS="--jobs 2 --only kills wrong_configs"]

Each finished step is written to results/verify/<revision>.json at once, with its command, exit
code, seconds and closing line; a second start at the same revision runs only what is missing or
failed. The folder is committed, so that the evidence lasts.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "verify"


def git(*arguments: str) -> str:
    """What git prints."""
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return result.stdout.strip()


def steps() -> dict[str, list[str]]:
    """Name and command of every step: lint, types, then each test file."""
    python = sys.executable
    commands = {
        "ruff": [python, "-m", "ruff", "check", "."],
        "mypy": [python, "-m", "mypy"],
    }
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = str(path.relative_to(ROOT))
        commands[name] = [python, "-m", "pytest", "-p", "no:randomly", name]
    return commands


def closing_line(output: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def save(path: Path, evidence: dict[str, Any]) -> None:
    """Write the evidence atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(evidence, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def run_step(command: list[str]) -> dict[str, Any]:
    """Run one step and say how it went."""
    begin = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "EKIPL_VERIFY": "1"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if result.returncode not in (0, 5):
        print(result.stdout[-4000:] + result.stderr[-2000:], flush=True)
    shown = ["python", *command[1:]]
    return {
        "command": " ".join(shown),
        "returncode": result.returncode,
        "seconds": round(time.monotonic() - begin, 1),
        "summary": closing_line(result.stdout),
    }


def chosen_steps(only: list[str]) -> dict[str, list[str]]:
    """The steps whose name holds one of these texts; without any text all of them.

    Raises:
        SystemExit: a text that is in no name.
    """
    wanted = steps()
    for text in only:
        if not any(text in name for name in wanted):
            raise SystemExit(
                f"No step is called like {text!r}: they are ruff, mypy and test files."
            )
    return {
        name: command
        for name, command in wanted.items()
        if not only or any(text in name for text in only)
    }


def main() -> int:
    """Run what is missing or failed at this revision."""
    parser = argparse.ArgumentParser(description="The long proofs, and their dated evidence.")
    parser.add_argument("--jobs", type=int, default=1, help="steps side by side")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the names of steps")
    options = parser.parse_args()
    wanted = chosen_steps(options.only)
    revision = git("rev-parse", "--short=12", "HEAD")
    dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
    path = RESULTS / f"{revision}{'-dirty' if dirty else ''}.json"
    evidence: dict[str, Any] = {"revision": revision, "dirty": dirty, "steps": {}}
    if path.exists() and not dirty:
        evidence = json.loads(path.read_text(encoding="utf-8"))
    evidence["python"] = platform.python_version()
    evidence["cores"] = os.cpu_count()
    missing = [
        name for name in wanted if evidence["steps"].get(name, {}).get("returncode") not in (0, 5)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(run_step, wanted[name]): name for name in missing}
        for number, step in enumerate(as_completed(running), start=1):
            name = running[step]
            evidence["steps"][name] = step.result()
            evidence["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            save(path, evidence)
            summary = step.result()["summary"]
            print(f"[verify {number}/{len(missing)}] {name}\n    {summary}", flush=True)
    failed = [name for name, step in evidence["steps"].items() if step["returncode"] not in (0, 5)]
    where = path.relative_to(ROOT)
    print(f"{len(evidence['steps']) - len(failed)} steps passed, {len(failed)} failed: {where}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
