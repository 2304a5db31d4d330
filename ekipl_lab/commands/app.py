"""`ekipl app`: the Gradio page, in a process of its own."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from ekipl_lab.errors import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    """The port."""
    parser.add_argument("--port", type=int, default=7860)


def run(args: argparse.Namespace) -> int:
    """Become ``python -m app`` in the clone of the project."""
    root = Path(__file__).resolve().parents[2]
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("The app needs its extra; install it with `make app`.")
    if not (root / "app" / "main.py").is_file():
        raise ConfigError("The app is started from a clone of the project; app/ is not here.")
    os.chdir(root)
    os.execv(sys.executable, [sys.executable, "-m", "app", "--port", str(args.port)])
