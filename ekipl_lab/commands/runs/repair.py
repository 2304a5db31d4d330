"""`ekipl runs repair`: no run says that it is running when it is not."""

from __future__ import annotations

import argparse

from ekipl_lab.tracking import repair_stale_runs


def run(args: argparse.Namespace) -> int:
    """Mark runs as killed whose process on this host is gone."""
    found = repair_stale_runs()
    for run_id in found:
        print(f"{run_id}: marked as killed; its process had ended without a word.")
    if not found:
        print("No run says that it is running whose process is gone.")
    return 0
