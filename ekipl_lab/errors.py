"""Errors a user can fix. Each message is one sentence that names the thing and the fix.

``ekipl`` prints the message alone and exits with code 2; anything else is a defect of ours and
keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

#: What a library without error numbers (SQLite, torch, safetensors) says of a full disk.
_FULL = ("disk is full", "No space left on device", "Disk quota exceeded", "os error 28")


class EKIPLError(Exception):
    """Base of every error that names a sample, file or field and how to fix it."""


class ConfigError(EKIPLError):
    """A setting, option, path or combination of them is wrong."""


class DataError(EKIPLError):
    """A sample, image, record or file is broken or missing."""


class MissingData(DataError):
    """A record or file is not there (any more); one that is there and broken is another matter."""


class TeacherError(EKIPLError):
    """A teacher could not give an action."""


class BudgetExceeded(TeacherError):
    """A teacher's budget of calls, tokens or money is used up."""


class RewardError(EKIPLError):
    """A ground truth or completion cannot be scored."""


def full_disk(error: BaseException | None) -> str | None:
    """One sentence if a full disk is behind an error; else None."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        numbered = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if numbered or any(words in str(error) for words in _FULL):
            name = getattr(error, "filename", None)
            place = f" ({name} could not be written)" if name else ""
            return f"the disk is full{place}; free some space: the same command continues."
        error = error.__cause__ or error.__context__
    return None


def printable(text: str) -> str:
    """``text`` with a blank for every character that could steer a terminal; new lines stay.

    Some texts are not ours (a server's, a teacher's): an escape sequence in them moves the cursor,
    changes titles, or hides what was said.
    """
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def missing_path(kind: str, path: str | Path, fix: str) -> ConfigError:
    """The error for a path that is not there: the nearest one that is, and how to ``fix`` it."""
    near = _nearest_path(Path(path).expanduser())
    hint = f"did you mean {str(near)!r}?" if near else fix
    return ConfigError(f"{kind} {str(path)!r} does not exist; {hint}")


def _nearest_path(path: Path) -> Path | None:
    """``path`` with its first missing part named as the entry beside it that is most like it."""
    rest: list[str] = []
    while path != path.parent and not path.parent.is_dir():
        rest.insert(0, path.name)
        path = path.parent
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return None
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    found = path.with_name(near[0]) if near else None
    if found is None:
        return None
    return whole if (whole := found.joinpath(*rest)).exists() else found


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not in a registry: nearest names first, then all of them."""
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return ConfigError(f"Unknown {kind} {name!r}{hint} Known: {', '.join(options) or 'none'}.")
