"""`ekipl mlflow`: MLflow's own page over this project's store."""

from __future__ import annotations

import argparse
import sys

from ekipl_lab.tracking import serve


def add_options(parser: argparse.ArgumentParser) -> None:
    """The port, and whether to open the page."""
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--no-browser", action="store_true", help="print the address only")


def run(args: argparse.Namespace) -> int:
    """Serve on 127.0.0.1 until interrupted."""
    browser = sys.stdout.isatty() and not args.no_browser
    return int(serve(args.port, browser=browser) or 0)
