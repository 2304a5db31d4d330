"""Parquet files of our own that show when any byte of them was changed.

Parquet has checksums of its data pages, none of its headers, statistics and footer. Between data
and footer, where every reader passes over, stands the SHA-256 of all the rest of the file.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
from pathlib import Path

#: The footer's word for it (a key of its metadata), and the bytes before the digest.
SEAL = {"ekipl.seal": "sha256"}
_MARK = b"ekiplsum"
_LENGTH = len(_MARK) + 32


def seal(path: Path) -> None:
    """Put the digest into a finished file, whose metadata hold `SEAL`."""
    content = path.read_bytes()
    footer = _footer(content)
    digest = hashlib.sha256(content).digest()
    path.write_bytes(content[:footer] + _MARK + digest + content[footer:])


def is_whole(path: Path) -> bool:
    """Whether a file is as it was sealed; True for one of an earlier version, which is not.

    Read once for as long as its size and time are the same.
    """
    status = path.stat()
    return _is_whole(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _is_whole(path: Path, size: int, changed: int) -> bool:
    if size < _LENGTH:
        return True  # no Parquet file: its reader says so
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as held:
        footer = _footer(held)
        begin = footer - _LENGTH
        mark = bytes(held[max(begin, 0) : max(footer, 0)])
        if not mark.startswith(_MARK) and next(iter(SEAL)).encode() not in held[max(footer, 0) :]:
            return True
        with memoryview(held) as view, view[: max(begin, 0)] as data, view[max(footer, 0) :] as end:
            digest = hashlib.sha256(data)
            digest.update(end)
        return mark == _MARK + digest.digest()


def _footer(content: bytes | mmap.mmap) -> int:
    """Where the footer begins: its length stands before the last four bytes."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")
