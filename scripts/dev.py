#!/usr/bin/env python3
"""Set up the project and run its main commands. Standard library only; `make` calls this.

    python3 scripts/dev.py demo      set up, then GRPO, EKIPL and SFT on the built-in benchmark
    python3 scripts/dev.py test      set up with the developers' extras, then lint, types and tests
    python3 scripts/dev.py verify    the long proofs; writes results/verify/
    python3 scripts/dev.py setup     set up only (all extras)
    python3 scripts/dev.py docs      build docs/ as HTML; warnings are errors
    python3 scripts/dev.py app|notebook|mlflow

The environment is .venv beside this folder (EKIPL_VENV names another place). It is made once: a
stamp holds the hash of what was asked for, and a second start with the same hash installs nothing.
pip's own settings (index, find-links, proxies, constraints) are respected.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("EKIPL_VENV", ROOT / ".venv"))
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
CONSTRAINTS = ROOT / "constraints.txt"
SUPPORTED = ((3, 11), (3, 12))


def say(message: str) -> None:
    """One line of progress."""
    print(f"[setup] {message}", flush=True)


def run(command: Sequence[str | Path], **kwargs: object) -> int:
    """Run a command in the project's root and give its exit code; Ctrl-C reaches it first."""
    process = subprocess.Popen([str(part) for part in command], cwd=ROOT, **kwargs)  # type: ignore[call-overload]
    while True:
        try:
            return int(process.wait())
        except KeyboardInterrupt:
            continue  # the child had the same signal; wait for it to put its things in order


def stamp_of(extras: str) -> str:
    """Hash of everything that decides what is installed for ``extras``."""
    parts = [extras, sys.version, (ROOT / "pyproject.toml").read_text(), CONSTRAINTS.read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def has_gpu() -> bool:
    """True if an NVIDIA driver answers."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool], capture_output=True).returncode == 0


def pinned(package: str) -> str:
    """The exact version of ``package`` in constraints.txt."""
    for line in CONSTRAINTS.read_text().splitlines():
        if line.lower().startswith(package + "=="):
            return line.strip().split("==")[1]
    raise SystemExit(f"[setup] constraints.txt has no pin for {package}; add one.")


def install_cpu_torch(pip: list[str | Path]) -> None:
    """Take the CPU build where no GPU is there and pip's settings offer it (Linux only)."""
    if not sys.platform.startswith("linux") or has_gpu():
        return
    version = pinned("torch")
    result = subprocess.run(
        [str(part) for part in [*pip, "-q", f"torch=={version}+cpu"]],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if result.returncode == 0:
        say(f"CPU build of torch {version} installed")
    else:
        say(
            f"pip's settings offer no CPU build of torch {version}: taking the default build, "
            "which is several GB (to avoid it, point PIP_EXTRA_INDEX_URL to PyTorch's CPU index)"
        )


def install(command: Sequence[str | Path]) -> None:
    """Run pip; what it says goes to a file and is printed only where it fails."""
    log = VENV / "setup.log"
    with log.open("w", encoding="utf-8") as file:
        code = run(command, stdout=file, stderr=subprocess.STDOUT)
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    if code != 0:
        print(said, flush=True)
        raise SystemExit("[setup] pip could not install the project; its message is above.")
    if said:
        say(f"pip had {len(said.splitlines())} lines to say, none an error: {log}")


def ensure(extras: str) -> None:
    """Make .venv and install the project with ``extras``, unless that was done before."""
    stamp = VENV / f".ekipl-{extras or 'core'}.stamp"
    wanted = stamp_of(extras)
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    if sys.version_info[:2] not in SUPPORTED:
        known = " or ".join(".".join(map(str, version)) for version in SUPPORTED)
        found = ".".join(map(str, sys.version_info[:2]))
        raise SystemExit(
            f"[setup] Python {found} runs this script, but the project needs {known}: "
            f"start it as `PYTHON=python3.11 make ...`."
        )
    begin = time.monotonic()
    if not PYTHON.exists():
        say(f"making {VENV.name}")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    named = f"with its extras {extras}" if extras else "alone"
    say(f"installing the project {named}: some minutes the first time")
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["-c", CONSTRAINTS]
    install_cpu_torch(pip)
    target = f".[{extras}]" if extras else "."
    install([*pip, "-q", "-e", target])
    stamp.write_text(wanted)
    say(f"ready after {time.monotonic() - begin:.0f} s")


def ekipl(*arguments: str) -> int:
    """Run the `ekipl` command of the environment."""
    return run([PYTHON, "-m", "ekipl_lab", *arguments])


def demo(arguments: list[str]) -> int:
    """The main job: GRPO, EKIPL and SFT from one warm start, side by side, evaluated, reported."""
    ensure("")
    arms = ("grpo", "ekipl", "sft")
    configs = [f"configs/demo_{arm}.yaml" for arm in arms]
    code = ekipl("compare", *configs, "--report", "mlruns/demo_report.html", *arguments)
    if code == 0:
        print(
            "Look next: open mlruns/demo_report.html in a browser; `make app` for chains side by "
            "side; `make notebook` to train from a cell; `make mlflow` for every run and metric.",
            flush=True,
        )
    return code


def test(arguments: list[str]) -> int:
    """Lint; then types and the tests that are not marked slow, side by side."""
    ensure("dev")
    for command in ([BIN / "ruff", "check", "."], [BIN / "ruff", "format", "--check", "."]):
        say(f"ruff {command[1]}")
        if run(command) != 0:
            print(f"[test] ruff {command[1]} failed", flush=True)
            return 1
    say("mypy and pytest, side by side")
    types = subprocess.Popen([str(BIN / "mypy")], cwd=ROOT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    workers = ["-n", "2", "--dist", "loadfile"]
    selection = arguments or ["-m", "not slow"]
    code = run([PYTHON, "-m", "pytest", *workers, *selection], env=environment)
    if types.wait() != 0:
        print("[test] mypy failed; what it says is above the tests' result", flush=True)
        return 1
    return code


def verify(arguments: list[str]) -> int:
    """Every test, the slow ones too; the dated evidence is written to results/verify/."""
    ensure("dev")
    return run([PYTHON, ROOT / "scripts" / "verify.py", *arguments])


def setup(arguments: list[str]) -> int:
    """All extras."""
    ensure("dev")
    return 0


def app(arguments: list[str]) -> int:
    """The Gradio page."""
    ensure("app")
    return ekipl("app", *arguments)


def silence_news() -> None:
    """JupyterLab's default in this environment: do not ask whether to fetch news."""
    path = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        setting = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}
        path.write_text(json.dumps(setting) + "\n", encoding="utf-8")


def notebook(arguments: list[str]) -> int:
    """JupyterLab in notebooks/."""
    ensure("notebook")
    silence_news()
    return run([BIN / "jupyter-lab", "--ip=127.0.0.1", "notebooks", *arguments])


def mlflow(arguments: list[str]) -> int:
    """MLflow's own page over mlruns/."""
    ensure("")
    return ekipl("mlflow", *arguments)


def docs(arguments: list[str]) -> int:
    """The pages of docs/, with the reference from docstrings, in build/docs."""
    ensure("dev")
    return run([PYTHON, ROOT / "scripts" / "docs.py", *arguments])


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "demo": demo,
    "test": test,
    "verify": verify,
    "setup": setup,
    "app": app,
    "notebook": notebook,
    "mlflow": mlflow,
    "docs": docs,
}


def main() -> int:
    """Dispatch on the first argument."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(__doc__)
        return 2
    return COMMANDS[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
