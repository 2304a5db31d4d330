"""One part of the check in a process of its own: what it saw, or why it was left out, as JSON.

python -m perf.gpu PART --out FILE [--device cpu --tiny] [--cap-gib 15.5]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from perf.gpu.parts import PARTS, Place, Skipped


def main() -> None:
    """Run the part in an empty store of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--cap-gib", type=float, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        place = Place(Path(folder), args.device, args.tiny, args.cap_gib)
        try:
            seen: dict[str, Any] = PARTS[args.part].run(place)
        except Skipped as reason:
            seen = {"skipped": str(reason)}
    args.out.write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main()
