"""Files of a run or a checkpoint: in place where the store is local, else sent and fetched."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ekipl_lab.errors import DataError, MissingData
from ekipl_lab.files import (
    SUMS,
    check_sums,
    read_sums,
    remove_temporary,
    replacing,
    write_sums,
    write_text,
)
from ekipl_lab.secrets import refuse_secret_files, refuse_secrets
from ekipl_lab.tracking.store import store_folder, tracking_uri


class Artifacts:
    """The artifact folder at one URI. Every local write is atomic; nothing secret is written."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        parts = urlsplit(uri)
        self.local = Path(url2pathname(parts.path)) if parts.scheme == "file" else None
        self._staged: dict[str, dict[str, tuple[int, int]]] = {}

    def write(self, name: str, text: str) -> None:
        """Write one text file ``name`` (a path below the folder)."""
        refuse_secrets(name, text)
        if self.local is not None:
            write_text(relative(self.local, name), text)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PurePosixPath(name).name
            path.write_text(text, encoding="utf-8")
            self._repository().log_artifact(str(path), _parent(name))

    def copy(self, path: Path, folder: str = "") -> None:
        """Copy a file into ``folder``, or the content of a folder."""
        if not path.exists():
            raise DataError(f"Artifact {path} does not exist.")
        refuse_secret_files(path)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        base = path if path.is_dir() else path.parent
        for file in (f for f in files if f.is_file()):
            name = (PurePosixPath(folder) / file.relative_to(base).as_posix()).as_posix()
            if self.local is None:
                self._repository().log_artifact(str(file), _parent(name))
                continue
            with replacing(relative(self.local, name)) as temporary:
                shutil.copyfile(file, temporary)

    def folder(self, name: str) -> Path:
        """A local folder whose content is kept as ``name/``: write there, then ``sync``.

        In a local store it is the artifact folder itself, readable by others at once.
        """
        if self.local is not None:
            path = relative(self.local, name)
        else:
            path = relative(self._beside("staging"), name)
            if name not in self._staged:
                shutil.rmtree(path, ignore_errors=True)
                for file in self.list(name):
                    self._repository().download_artifacts(file, str(path.parent))
                self._staged[name] = _state(path)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def sync(self) -> None:
        """Send what changed in the folders given out; delete what is gone from them."""
        for name, sent in self._staged.items():
            path = self.folder(name)
            now = _state(path)
            for file in sorted(set(now) - {file for file in sent if sent[file] == now.get(file)}):
                refuse_secret_files(path / file)
                self._repository().log_artifact(str(path / file), _parent(f"{name}/{file}"))
            for file in sorted(set(sent) - set(now)):
                self._repository().delete_artifacts(f"{name}/{file}")
            self._staged[name] = now

    def seal(self) -> None:
        """Note the digests of all files of a run that has ended; a server keeps its own."""
        if self.local is not None and self.local.is_dir():
            write_sums(self.local)

    def unseal(self) -> None:
        """Files may change again; those that a killed process left half-written are deleted.

        DataError if one has changed since the seal. Records are looked at where they are read.
        """
        if self.local is not None:
            listed = [name for name in read_sums(self.local) if not name.endswith(".parquet")]
            check_sums(self.local, listed)
            (self.local / SUMS).unlink(missing_ok=True)
            remove_temporary(self.local)

    def remove(self) -> None:
        """Delete all files; a server keeps them until its own garbage collection."""
        if self.local is not None:
            shutil.rmtree(self.local, ignore_errors=True)

    def fetch(self, name: str = "") -> Path:
        """A local path of the file or folder ``name``; DataError if there is none.

        Also for a file, or the whole, that is not as it was when its run ended.
        """
        if self.local is not None:
            path = relative(self.local, name)
            if not path.exists():
                raise MissingData(f"Artifact {name!r} is not in {self.local}.")
            if not name or path.is_file():
                check_sums(self.local, [name] if name else None)
            return path
        target = self._beside("cache")
        target.mkdir(parents=True, exist_ok=True)
        relative(target, name)
        try:
            return Path(self._repository().download_artifacts(name, str(target)))
        except Exception as error:  # every kind of repository raises its own
            raise MissingData(f"Artifact {name!r} cannot be fetched from {self.uri}.") from error

    def list(self, name: str = "") -> list[str]:
        """Paths of all files below ``name`` but the seal's, sorted."""
        if self.local is not None:
            path = relative(self.local, name)
            found = {f for f in path.rglob("*") if f.is_file() and f.suffix != ".tmp"}
            found.discard(self.local / SUMS)
            return sorted(f.relative_to(self.local).as_posix() for f in found)
        names: list[str] = []
        for entry in self._repository().list_artifacts(name or None):
            names.extend(self.list(entry.path) if entry.is_dir else [entry.path])
        return sorted(names)

    def _beside(self, kind: str) -> Path:
        """This machine's folder for files of a store that is elsewhere."""
        return store_folder() / kind / hashlib.sha256(self.uri.encode()).hexdigest()[:16]

    def _repository(self) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(self.uri, tracking_uri=tracking_uri())


def relative(root: Path, name: str) -> Path:
    """``root / name``; DataError if that would lie outside of ``root``."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise DataError(f"Artifact name {name!r} must be a path below the run's artifacts.")
    return root / name


def _parent(name: str) -> str | None:
    parent = PurePosixPath(name).parent.as_posix()
    return None if parent == "." else parent


def _state(path: Path) -> dict[str, tuple[int, int]]:
    """Name -> (size, modification time) of every finished file below ``path``."""
    found = {}
    for file in path.rglob("*"):
        if file.is_file() and file.suffix != ".tmp":
            status = file.stat()
            found[file.relative_to(path).as_posix()] = (status.st_size, status.st_mtime_ns)
    return found
