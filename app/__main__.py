"""``python -m app --port 7860``, ``python -m app bundle ADDRESS --out page.html``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from app import ports
from ekipl_lab.commands.app import add_options
from ekipl_lab.commands.cli import unwritable
from ekipl_lab.errors import EKIPLError, full_disk
from ekipl_lab.files import replacing, write_text


def main() -> int:
    """Serve the page or write a file; a user's mistake is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="app", description="EKIPL Lab's page.")
    add_options(parser)
    args = parser.parse_args()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        {"bundle": _bundle, "export": _export}.get(args.job, _serve)(args)
    except OSError as error:
        if (sentence := full_disk(error) or unwritable(error, args)) is None:
            raise
        print(f"ekipl: {sentence}", file=sys.stderr)
        return 2
    except EKIPLError as error:
        print(f"ekipl: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _serve(args: argparse.Namespace) -> None:
    from app.login import login_for

    login = login_for(args.host, os.environ)
    held = ports.bind(args.port, args.host)
    from app import server

    server.serve(held, login)


def _bundle(args: argparse.Namespace) -> None:
    from app import exports

    write_text(args.out, exports.bundle(args.addresses))
    print(f"{len(args.addresses)} pages in {args.out}")


def _export(args: argparse.Namespace) -> None:
    """Write every data set that there is something for; nothing at all is an error."""
    from app import exports, votes

    jobs: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
        f"chains-{run[:8]}": partial(exports.chain_rows, run) for run in args.runs
    }
    if not args.runs or votes.read():
        jobs["preferences"] = exports.preference_rows
        if any(vote.corrected for vote in votes.read()):
            jobs["corrections"] = exports.correction_rows
    found = {name: list(rows()) for name, rows in jobs.items()}
    some = {name: rows for name, rows in found.items() if rows} or {"preferences": []}
    contents = {name: exports.as_parquet(rows) for name, rows in some.items()}
    for name, content in contents.items():  # all could be made
        path: Path = args.out / name / "train.parquet"
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        print(f"{name}: {path}")


if __name__ == "__main__":
    sys.exit(main())
