"""`ekipl runs show RUN`: what a run is and what it left."""

from __future__ import annotations

import argparse

from ekipl_lab.errors import printable
from ekipl_lab.tracking import check_run, find_run, list_artifacts, list_checkpoints
from ekipl_lab.tracking.checkpoints import best_of
from ekipl_lab.tracking.pages import NOTE_TAG


def add_options(parser: argparse.ArgumentParser) -> None:
    """The run."""
    parser.add_argument("run_id", metavar="RUN", help="its id, how that begins, or its name")


def run(args: argparse.Namespace) -> int:
    """Print it in parts."""
    info = find_run(args.run_id)
    check_run(info)
    print(f"{printable(info.name)}  {info.run_id}  {info.status.lower()}  {info.experiment}")
    if note := info.tags.get(NOTE_TAG):
        print(printable(note))
    _part("settings", [f"{name}: {value}" for name, value in sorted(info.params.items())])
    measured = {n: v for n, v in info.metrics.items() if n.startswith("eval/") and n.count("/") < 3}
    _part("last measured", [f"{name}: {value:.3f}" for name, value in sorted(measured.items())])
    saved = list_checkpoints(info.run_id)
    best = best_of(saved)
    lines = [f"step {one.step}: {one.id}  {one.location}" for one in saved]
    if best is not None:
        lines.append(f"best: step {best[0].step}, by {best[1]}")
    _part("checkpoints", lines)
    _part("files", list_artifacts(info))
    return 0


def _part(title: str, lines: list[str]) -> None:
    if lines:
        print(f"\n{title}")
        print("\n".join(f"  {printable(line)}" for line in lines))
