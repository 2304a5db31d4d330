"""vLLM's own request models out of its wheel, on a machine that cannot hold vLLM.

Of vLLM the modules in `REAL` are read as they are in the wheel; all others, which want CUDA, models
and an engine, are empty shells. vLLM's classes are msgspec's, which comes with them.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

from pydantic_core import core_schema

REAL = {
    "vllm.sampling_params",
    "vllm.envs",
    "vllm.exceptions",
    "vllm.logprobs",
    "vllm.v1.serial_utils",
    "vllm.utils.collection_utils",
    "vllm.entrypoints.generate.base.protocol",
    "vllm.entrypoints.serve.engine.protocol",
    "vllm.entrypoints.openai.completion.protocol",
    "vllm.entrypoints.scale_out.token_in_token_out.protocol",
}


def unpacked(pin: str, folder: Path) -> Path:
    """`folder` with the modules of the wheel that pip finds for ``pin``, and msgspec; once.

    AssertionError with pip's own words where the wheel cannot be had.
    """
    if (folder / "vllm").is_dir():
        return folder
    with tempfile.TemporaryDirectory() as place:
        wheels = ["--platform", "manylinux_2_28_x86_64", "--only-binary", ":all:"]
        _pip(pin, "download", pin, "--no-deps", *wheels, "--dest", place)
        _pip(pin, "install", "msgspec", "--no-deps", "--target", str(folder))
        (wheel,) = Path(place).glob("vllm-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name.replace(".", "/") + ".py" for name in sorted(REAL)]
            archive.extractall(place, members)
        (Path(place) / "vllm").rename(folder / "vllm")
    return folder


def _pip(pin: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (
        f"pip cannot fetch the wheel of {pin} (315 MB), whose request models this test is about; "
        f"run it where a package index can be reached. pip says: {done.stderr[-500:]}"
    )


class _Unread:
    """A class of vLLM that is not read; as the type of a field it takes anything."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.any_schema()


class _Shell(ModuleType):
    """A module of vLLM that is not read: any name in it is a class or a mock."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = type(name, (_Unread,), {}) if name[0].isupper() else MagicMock(name=name)
        setattr(self, name, value)
        return value


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] != "vllm":
            return None
        if name in REAL:
            file = self.folder / (name.replace(".", "/") + ".py")
            return importlib.util.spec_from_file_location(name, file)
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        return _Shell(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return None


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """`import vllm.sampling_params` and the like work within; nothing of it stays."""
    finder = _Finder(folder)
    sys.meta_path.insert(0, finder)
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
            del sys.modules[name]
