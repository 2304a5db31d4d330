"""``python -m app --port 7860``."""

from __future__ import annotations

import argparse
import os
import sys

from app import ports
from ekipl_lab.errors import EKIPLError


def main() -> int:
    """Serve the page; a user's mistake is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="app", description="EKIPL Lab's page on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=7860, help="0 takes any free port")
    args = parser.parse_args()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        held = ports.bind(args.port)
        from app import server

        server.serve(held)
    except EKIPLError as error:
        print(f"ekipl: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
