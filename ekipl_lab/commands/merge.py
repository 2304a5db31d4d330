"""`ekipl merge`: base and adapter as one checkpoint folder."""

from __future__ import annotations

import argparse

from ekipl_lab.commands.options import named_path
from ekipl_lab.policies import merge_adapter


def add_options(parser: argparse.ArgumentParser) -> None:
    """The adapter, its base, and where to."""
    parser.add_argument("adapter", type=named_path, help="folder of the adapter")
    parser.add_argument("--out", type=named_path, required=True, help="folder to write")
    parser.add_argument("--base", default=None, help="its base, if that is no longer where it was")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default=None)


def run(args: argparse.Namespace) -> int:
    """Merge and save."""
    folder = merge_adapter(args.adapter, args.out, base=args.base, dtype=args.dtype)
    print(f"Merged policy saved in {folder}")
    return 0
