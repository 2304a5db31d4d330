"""`ekipl mlflow`: MLflow's own page over this project's store."""

from __future__ import annotations

import argparse

from ekipl_lab.tracking import serve


def add_options(parser: argparse.ArgumentParser) -> None:
    """The port."""
    parser.add_argument("--port", type=int, default=5000)


def run(args: argparse.Namespace) -> int:
    """Serve on 127.0.0.1 until interrupted."""
    return int(serve(args.port) or 0)
