"""`ekipl headroom`: can the tiny policies still learn, and do they see?"""

from __future__ import annotations

import argparse
from pathlib import Path

from ekipl_lab.commands.options import named_path
from ekipl_lab.errors import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which policies, on which items."""
    parser.add_argument("--tasks", nargs="+", default=["counting", "geometry", "transformation"])
    parser.add_argument("--policy", type=named_path, help="its folder (default: the shipped)")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=200, help="items of each family")
    parser.add_argument("--out", type=named_path, help="write the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure the gates; 1 if one of them fails."""
    from ekipl_lab.evaluation.headroom import measure

    if args.policy and len(args.tasks) != 1:
        raise ConfigError("--policy needs one task; name it with --tasks.")
    folders = {task: args.policy or Path("assets/policies") / task for task in args.tasks}
    held = measure(folders, split=args.split, seed=args.seed, items=args.items, out=args.out)
    return 0 if held else 1
