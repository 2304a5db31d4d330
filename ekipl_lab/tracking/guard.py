"""Nothing secret is logged: values of environment variables that look like credentials."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from ekipl_lab.errors import ConfigError

#: Endings of the names of environment variables whose values must not be logged.
SECRET_ENDINGS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
#: Shorter values are words like "true", not secrets.
SHORTEST = 8


def secrets() -> Iterator[tuple[str, str]]:
    """Names and values of environment variables that look like credentials."""
    for name, value in os.environ.items():
        if name.upper().endswith(SECRET_ENDINGS) and len(value) >= SHORTEST:
            yield name, value


def refuse_secrets(what: str, text: str) -> None:
    """Raise ConfigError, without the value, if ``text`` holds a secret of the environment."""
    for name, value in secrets():
        if value in text:
            raise _refusal(name, what)


def refuse_secret_files(path: Path) -> None:
    """The same for a file, or every file in a folder, whatever its type."""
    wanted = [(name, value.encode()) for name, value in secrets()]
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not wanted or not file.is_file() or file.stat().st_size == 0:
            continue
        with (
            file.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            for name, value in wanted:
                if content.find(value) >= 0:
                    raise _refusal(name, str(file))


def _refusal(name: str, what: str) -> ConfigError:
    return ConfigError(
        f"The value of environment variable {name} stands in {what}, which would be logged; take "
        "it out (teachers read keys from the environment by themselves)."
    )


def without_secrets(text: str) -> str:
    """``text`` with every secret replaced by the name of its variable."""
    for name, value in secrets():
        text = text.replace(value, f"<{name}>")
    return text
