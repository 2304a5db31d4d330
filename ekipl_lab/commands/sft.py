"""`ekipl sft`: the supervised warm start of a tiny policy."""

from __future__ import annotations

import argparse
from pathlib import Path

from ekipl_lab.training.sft.config import load_sft_config
from ekipl_lab.training.sft.run import log_to, run_sft


def add_options(parser: argparse.ArgumentParser) -> None:
    """The recipe."""
    parser.add_argument("--config", type=Path, required=True, help="YAML file")


def run(args: argparse.Namespace) -> int:
    """Train, or continue; say where the policy is."""
    config = load_sft_config(args.config)
    folder = run_sft(config, log=log_to(config.work_dir / "log.jsonl"))
    print(f"Policy saved in {folder}")
    return 0
