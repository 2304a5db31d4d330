"""`ekipl runs repair`: no run says that it is running when it is not, or a figure it had not."""

from __future__ import annotations

import argparse

from ekipl_lab.tracking import changed_figures, repair_stale_runs


def run(args: argparse.Namespace) -> int:
    """Mark runs as killed whose process on this host is gone; 1 if a figure was changed."""
    found = repair_stale_runs()
    for run_id in found:
        print(f"{run_id}: marked as killed; its process had ended without a word.")
    if not found:
        print("No run says that it is running whose process is gone.")
    changed = changed_figures()
    for sentence in changed:
        print(sentence)
    return int(bool(changed))
