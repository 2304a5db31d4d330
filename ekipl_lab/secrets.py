"""Nothing secret is kept: values of environment variables that look like credentials."""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

#: Endings of the names of environment variables whose values must not be logged; a number may
#: follow (``OPENAI_API_KEY_2``).
SECRET_ENDINGS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
#: Variables of other names that hold a key all the same.
_NAMED: set[str] = set()
#: Shorter values are words like "true", not secrets.
SHORTEST = 8
#: What opens a compressed file, by its ending.
_OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_DAMAGE = (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
#: JSON within JSON that is looked through.
_DEPTH = 6
#: The short escapes of JSON that differ from what they stand for.
_SHORT = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_LONG = {short: long for long, short in _SHORT.items()}


def holds_key(name: str) -> None:
    """From now on the value of this environment variable is a secret, whatever its name."""
    _NAMED.add(name)


def secrets() -> Iterator[tuple[str, str]]:
    """Names and values of environment variables that look like credentials, as they are sent:

    without the line break that a file ends with.
    """
    for name, value in os.environ.items():
        named = name in _NAMED or name.upper().rstrip("_0123456789").endswith(SECRET_ENDINGS)
        if named and len(value.strip()) >= SHORTEST:
            yield name, value.strip()


@cache
def spelled(secret: str) -> re.Pattern[str]:
    r"""Finds a secret as it is and in every escape of JSON, also of JSON within JSON.

    A ``/`` is found as ``\/``, ``\u002F`` and ``\\u002f`` too. Linear in the text that is searched.
    """
    # Backslashes are passed over, the secret's own too; a run of them is begun at its first one
    # only, or a long one would take a square of time.
    characters = secret.replace("\\", "") or secret
    first, *rest = map(_character, characters)
    first = rf"(?:{re.escape(characters[0])}|\\(?<!\\\\)\\*+{first})"
    return re.compile(r"(?:\\++(?:u005[cC])?+)*+".join([first, *rest]))


@cache
def spelled_bytes(secret: str) -> re.Pattern[bytes]:
    """The same for bytes of UTF-8."""
    return re.compile(spelled(secret).pattern.encode())


def hidden(secret: str, text: str) -> bool:
    r"""Whether a text holds the secret in escapes that are escaped, as ``\\u\u0030041``."""
    for _ in range(_DEPTH):
        if "\\" not in text:
            return False
        text = _ESCAPE.sub(_unescaped, text)
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if spelled(secret).search(text):
            return True
    return False


def _unescaped(found: re.Match[str]) -> str:
    said = found[1]
    return chr(int(said[1:], 16)) if len(said) == 5 else _LONG.get(said, said)


def blotted(secret: str, content: bytes, blot: bytes) -> bytes:
    """Bytes of UTF-8 with every spelling of the secret replaced; ``blot`` alone if it is hidden."""
    content = spelled_bytes(secret).sub(blot, content)
    return blot if hidden(secret, content.decode("utf-8", "replace")) else content


def _character(character: str) -> str:
    """A character as it is and escaped, but for the first backslash of an escape."""
    wide = character.encode("utf-16-be").hex()
    units = [f"u(?i:{wide[i : i + 4]})" for i in range(0, len(wide), 4)]
    ways = [re.escape(character), r"\\++".join(units), *_SHORT.get(character, "")]
    return f"(?:{'|'.join(ways)})"


def refuse_secrets(what: str, text: str) -> None:
    """Raise ConfigError, without the value, if ``text`` holds a secret of the environment."""
    for name, value in secrets():
        if spelled(value).search(text) or hidden(value, text):
            raise _refusal(name, what)


def refuse_secret_files(path: Path) -> None:
    """The same for a file, or every file in a folder, whatever its type."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files if any(secrets()) else []:
        if not file.is_file() or file.stat().st_size == 0:
            continue
        if file.suffix == ".parquet":  # compressed
            import pyarrow.parquet as pq

            refuse_secret_rows(str(file), pq.read_table(file))
        for name, unpacked in _unpacked(file):
            _refuse_bytes(name, memoryview(unpacked))
        with (
            file.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            _refuse_bytes(str(file), content)


def _unpacked(file: Path) -> Iterator[tuple[str, bytes]]:
    """What a compressed file holds, by name; nothing for another. ConfigError if it is damaged."""
    try:
        if file.suffix in _OPENERS:
            with _OPENERS[file.suffix](file) as stream:
                yield str(file), stream.read()
        elif zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    if member.compress_type != zipfile.ZIP_STORED:  # found as it stands otherwise
                        yield f"{file} ({member.filename})", archive.read(member)
    except _DAMAGE as error:
        raise ConfigError(
            f"{file} cannot be unpacked to look for secrets ({error}); log it unpacked."
        ) from error


def refuse_secret_rows(what: str, table: pa.Table) -> None:
    """The same for every text in a table, however nested."""
    import pyarrow as pa

    if not any(secrets()):
        return
    texts = pa.BufferOutputStream()
    with pa.ipc.new_stream(texts, table.schema) as stream:
        stream.write_table(table)
    _refuse_bytes(what, memoryview(texts.getvalue()))


def _refuse_bytes(what: str, content: mmap.mmap | memoryview) -> None:
    for name, value in secrets():
        if spelled_bytes(value).search(content):
            raise _refusal(name, what)


def _refusal(name: str, what: str) -> ConfigError:
    return ConfigError(
        f"The value of environment variable {name} stands in {what}, which would be logged; take "
        "it out (teachers read keys from the environment by themselves)."
    )


def without_secrets(text: str) -> str:
    """``text`` with every secret replaced by the name of its variable."""
    for name, value in secrets():
        text = spelled(value).sub(f"<{name}>", text)
        text = f"<{name}>" if hidden(value, text) else text
    return text
