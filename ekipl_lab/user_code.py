"""Code of the user's own, named in a config as ``FILE.py:NAME``: rewards and teachers.

The file is run as Python: name only files that you trust.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ekipl_lab.errors import ConfigError


def load_attribute(name: str, kind: str, what: str, *, prefix: str = "") -> Any:
    """The function or class that ``FILE.py:NAME`` names.

    Messages call the file by its ``kind`` (reward, teacher) and the attribute ``what`` (function,
    class), and write the name after ``prefix``.

    The file is run once, and again when it has changed. Raises ConfigError for a name of another
    form, a missing file or attribute, and for anything that running the file raises.
    """
    path, _, attribute = name.rpartition(":")
    full = prefix + name
    if not path.endswith(".py") or not attribute.isidentifier():
        raise ConfigError(f"{full!r} must have the form {prefix}FILE.py:{what.upper()}.")
    if not Path(path).is_file():
        raise ConfigError(f"The {kind} file {path} does not exist; fix {full!r}.")
    status = Path(path).stat()
    try:
        module = _run(Path(path).resolve(), status.st_mtime_ns, status.st_size)
    except Exception as error:
        raise ConfigError(f"The {kind} file {path} cannot be run: {error!r}; fix it.") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise ConfigError(f"The {kind} file {path} has no {what} {attribute!r}; fix {full!r}.")
    return found


@functools.lru_cache(maxsize=64)
def _run(path: Path, changed: int, size: int) -> ModuleType:
    """The file as a module; ``changed`` and ``size`` tell its versions apart."""
    digest = hashlib.sha256(f"{path}:{changed}:{size}".encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"{path.stem}_{digest}", path)
    assert spec is not None and spec.loader is not None  # of every path that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where pydantic and dataclasses look names up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module
