"""Files that are there whole or not at all, and the generated sections of the docs."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError, DataError

#: Lists the files of a folder with their SHA-256, as `sha256sum` writes and checks it.
SUMS = "SHA256SUMS"
_SEAL = "sha256"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place when the block ends.

    An error leaves ``path`` as it was and nothing beside it. The folder is made. The temporary
    name ends in ``.tmp`` and differs between processes and threads.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(folder: Path) -> None:
    """Delete what killed processes left half-written below ``folder``; nobody may write there."""
    for path in list(folder.rglob("*.tmp")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def check_folder(path: Path) -> Path:
    """The path, if it is or can be made a folder that is written to; ConfigError if not."""
    try:
        at = path
        while not at.exists() and at != at.parent:
            at = at.parent
        if not at.is_dir():
            raise ConfigError(f"{path} cannot be a folder: {at} is a file; name another.")
        if not os.access(at, os.W_OK):
            raise ConfigError(f"{path} cannot be written: {at} is read-only; name another folder.")
        longest = max(path.relative_to(at).parts, key=len, default="")
        with tempfile.TemporaryDirectory(prefix=".ekipl-", dir=at) as trial:  # not within /proc
            Path(trial, longest).mkdir(exist_ok=True)  # nor by a name that is too long
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be written ({reason}); name another folder.") from error
    return path


def remove(path: Path) -> None:
    """Delete a file, or a folder and all that is in it."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text, on disk before it takes the place of what was there; returns ``path``."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    return path


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a small file so that it is there whole or not at all."""
    write_text(path, json.dumps(value, indent=1))


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of such a file, None if there is none; DataError if it is not JSON."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is empty or damaged: it is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is damaged: it holds no settings (key: value).")
    return value


def write_note(path: Path, value: Mapping[str, Any]) -> None:
    """Write a small JSON file together with the SHA-256 of its content."""
    write_json(path, sealed(value))


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A value with the SHA-256 of its content, as `read_note` checks it."""
    return {**value, _SEAL: _sealed(value)}


def read_note(path: Path) -> dict[str, Any] | None:
    """The content of such a file, None if there is none; DataError if it is damaged."""
    note = read_json(path)
    seal = note.pop(_SEAL, None) if note else None
    if note is not None and seal not in (None, _sealed(note)):  # None: of an earlier version
        raise DataError(f"{path} is damaged: its content is not what was written.")
    return note


def file_digests(
    folder: Path, *, leave_out: Collection[str] = (), on_disk: bool = False
) -> dict[str, str]:
    """Name -> SHA-256 of every file below ``folder``; ``on_disk`` waits until they are written."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in leave_out:
            with path.open("rb") as stream:
                if on_disk:
                    os.fsync(stream.fileno())
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            digests[path.relative_to(folder).as_posix()] = digest
    return digests


def write_sums(
    folder: Path, *, leave_out: Collection[str] = (), on_disk: bool = False
) -> dict[str, str]:
    """Seal a folder with a `SUMS` file, which `check_sums` reads; the digests of all its files.

    Texts for people (``*.md``) may change later and are not listed.
    """
    digests = file_digests(folder, leave_out={SUMS, *leave_out}, on_disk=on_disk)
    listed = (f"{digest}  {name}\n" for name, digest in digests.items() if name[-3:] != ".md")
    path = write_text(folder / SUMS, "".join(listed))
    return digests | {SUMS: hashlib.sha256(path.read_bytes()).hexdigest()}


def check_sums(folder: Path, names: Collection[str] | None = None) -> None:
    """DataError unless the files that a `SUMS` file lists (of ``names``, if given) are unchanged.

    A folder without one is of an earlier version or another program: nothing is known of it.
    """
    path = folder / SUMS
    for name, digest in read_sums(folder).items():
        if names is not None and name not in names:
            continue
        file = folder / name
        if not name or not file.is_file() or digest_of(file) != digest:
            what = file if name and len(digest) == 64 else path
            raise DataError(
                f"{what} is damaged or was changed: it is not what was written ({path}); put it "
                f"back from a copy, or delete {SUMS} if the change is meant."
            )


def read_sums(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 as a `SUMS` file lists them; an empty name stands for what is no such line.

    Nothing where there is none.
    """
    if not (folder / SUMS).is_file():
        return {}
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    parts = [line.partition("  ") for line in lines or [""]]
    return {name: digest for digest, _, name in parts}


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, which is read once for as long as its size and time are the same."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sealed(value: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(value))  # keys are texts then
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    """A table as CSV (or, with a tab, TSV) with a heading; nothing where it has no columns."""
    text = io.StringIO()
    if columns:
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def put_between(page: str, begin: str, end: str, section: str) -> str:
    """The page with what stands between two marks replaced by ``section``.

    Raises DataError where a mark is missing, or ``end`` comes first.
    """
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise DataError(f"The page lacks the marks {begin!r} and {end!r}; put them back.")
    return f"{before}{begin}\n{section}\n{end}{after}"
