"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """``--config FILE`` and ``KEY=VALUE`` overrides of it."""
    parser.add_argument("--config", type=Path, required=True, help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as grpo.beta=0.02")


def add_payment_option(parser: argparse.ArgumentParser) -> None:
    """``--yes``: a teacher without a budget in USD may cost money."""
    parser.add_argument("--yes", action="store_true", help="pay without a budget in USD")
