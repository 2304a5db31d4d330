"""`ekipl data preview`: a contact sheet of samples."""

from __future__ import annotations

import argparse
from pathlib import Path

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.preview import write_contact_sheet
from ekipl_lab.commands.options import named_path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which samples, and where to."""
    parser.add_argument("--benchmark", default="mini")
    parser.add_argument("--task", default="counting")
    parser.add_argument("--split", default="train")
    parser.add_argument("--families", nargs="+", default=None)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=None, help="image size in pixels")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--out", type=named_path, default=Path("preview.png"))


def run(args: argparse.Namespace) -> int:
    """Draw the samples into one picture."""
    samples = load_samples(
        args.benchmark,
        task=args.task,
        split=args.split,
        limit=args.limit,
        families=args.families,
        seed=args.seed,
        image_size=args.size,
    )
    write_contact_sheet(samples, args.out, columns=args.columns)
    print(f"{len(samples)} samples of {args.benchmark}/{args.task}/{args.split}: {args.out}")
    return 0
