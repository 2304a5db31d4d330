"""`ekipl app`: the Gradio page, in a process of its own, and what it writes to files."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from ekipl_lab.commands.options import named_path
from ekipl_lab.errors import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the page is served; or a job beside it: pages or chains as files."""
    parser.add_argument("--port", type=int, default=7860, help="0 takes any free port")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="another address needs EKIPL_APP_USER and EKIPL_APP_PASSWORD",
    )
    jobs = parser.add_subparsers(dest="job", metavar="JOB", parser_class=argparse.ArgumentParser)
    bundle = jobs.add_parser("bundle", help="write the pages of some addresses as one HTML file")
    bundle.add_argument("addresses", nargs="+", metavar="ADDRESS")
    bundle.add_argument("--out", type=named_path, required=True)
    export = jobs.add_parser(
        "export", help="write votes (for DPO and SFT) and chains as Parquet with pictures"
    )
    export.add_argument("runs", nargs="*", metavar="RUN", help="runs whose chains are written")
    export.add_argument("--out", type=named_path, required=True, help="folder")
    parser.usage = "ekipl app [-h] [--port PORT] [--host HOST] [JOB ...]"  # without one it serves


def run(args: argparse.Namespace) -> int:
    """Become ``python -m app`` in the clone of the project."""
    root = Path(__file__).resolve().parents[2]
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("The app needs its extra; install it with `make app`.")
    if not (root / "app" / "main.py").is_file():
        raise ConfigError("The app is started from a clone of the project; app/ is not here.")
    line = [sys.executable, "-m", "app", *arguments(args)]
    os.chdir(root)
    os.execv(sys.executable, line)


def arguments(args: argparse.Namespace) -> list[str]:
    """The command line again, with whole paths, since the process moves to the clone."""
    if args.job is None:
        return ["--port", str(args.port), "--host", args.host]
    named = args.addresses if args.job == "bundle" else args.runs
    return [args.job, "--out", str(args.out.resolve()), "--", *named]
