"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def named_path(text: str) -> Path:
    """A path that is given; an empty one would be the folder that one stands in."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; name a file or folder")
    return Path(text)


def count(text: str) -> int:
    """A whole number of 1 or more: a slice by -1 would leave out the last in silence."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


class AddOverrides(argparse.Action):
    """Collects overrides, by themselves and after ``--set``, in one list in the order given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Append what was given."""
        new = [values] if isinstance(values, str) else list(values or ())
        setattr(namespace, self.dest, [*getattr(namespace, self.dest, ()), *new])


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """``--set KEY=VALUE``, once for each override; the same as KEY=VALUE by itself."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action=AddOverrides,
        default=[],
        metavar="KEY=VALUE",
        help="such as grpo.beta=0.02; the same as KEY=VALUE by itself",
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """``--config FILE`` and overrides of it: KEY=VALUE, also with ``--set`` before each."""
    parser.add_argument("--config", type=named_path, required=True, help="YAML file")
    parser.add_argument(
        "overrides",
        nargs="*",
        action=AddOverrides,
        default=[],
        metavar="KEY=VALUE",
        help="such as grpo.beta=0.02",
    )
    add_set_option(parser)


def add_payment_option(parser: argparse.ArgumentParser) -> None:
    """``--yes``: a teacher without a budget in USD may cost money."""
    parser.add_argument("--yes", action="store_true", help="pay without a budget in USD")
