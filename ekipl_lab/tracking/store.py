"""Where runs are kept, and opening that place.

Default: SQLite in ``mlruns/mlflow.db`` of the project, artifacts in ``mlruns/artifacts``. A user's
own ``MLFLOW_TRACKING_URI`` is respected: a server keeps its own artifacts; for another SQLite file
they lie in ``artifacts`` beside it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from ekipl_lab.errors import ConfigError
from ekipl_lab.tracking.pages import experiment_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Marks the experiments with runs of this project: ``OWN`` ones were created here, with their
#: artifacts beside the SQLite file; ``ADOPTED`` ones were there before.
EXPERIMENT_TAG = "ekipl.experiment"
OWN, ADOPTED = "own", "adopted"
_SQLITE = "sqlite:///"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def project_root() -> Path:
    """The clone this package lies in; the working directory for an installed package."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


def tracking_uri() -> str:
    """The store in use: ``MLFLOW_TRACKING_URI``, else SQLite in the project's ``mlruns``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{project_root()}/mlruns/mlflow.db"


def database() -> Path | None:
    """The SQLite file of the store in use; None where it is a server."""
    uri = tracking_uri()
    return Path(uri.removeprefix(_SQLITE)).resolve() if uri.startswith(_SQLITE) else None


def store_folder() -> Path:
    """The local folder beside the store, for logs and reports: ``mlruns`` by default."""
    path = database()
    return path.parent if path is not None else project_root() / "mlruns"


def artifact_root() -> str | None:
    """URI of the folder of all artifacts; None where a server decides."""
    path = database()
    return (path.parent / "artifacts").as_uri() if path is not None else None


def shown(uri: str) -> str:
    """A tracking URI without the name and password it may carry."""
    parts = urlsplit(uri)
    return uri.replace(f"{parts.netloc}", parts.netloc.rpartition("@")[2], 1)


def ensure_store() -> str:
    """Create the store if need be, check that it answers, and name it.

    Several processes may call this at the same time. Raises ConfigError if the store cannot be
    used.
    """
    uri = tracking_uri()
    _prepare(uri)
    return shown(uri)


def client() -> MlflowClient:
    """MLflow's client of the store in use."""
    uri = tracking_uri()
    _prepare(uri)
    return _client(uri)


@lru_cache(maxsize=8)
def _client(uri: str) -> MlflowClient:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # importing mlflow sets it to INFO
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


@lru_cache(maxsize=8)
def _prepare(uri: str) -> None:
    path = database()
    if path is None:
        _check_server(uri)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.is_file() and _half_made(path):
                path.replace(path.with_name(f"{path.name}.half-made-{secrets.token_hex(4)}"))
            if not path.is_file() or path.stat().st_size == 0:
                _create(path)
            _check_file(path)
            _check_tables(uri)
            with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection, connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN IMMEDIATE")  # fails where the file cannot be written
                _relocate(connection, (path.parent / "artifacts").as_uri())
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"The store {shown(uri)} cannot be opened ({error}); set MLFLOW_TRACKING_URI to a "
            "place that can be written."
        ) from error


def _create(path: Path) -> None:
    """Make the tables in a file beside ``path``, which takes its place when they are all there."""
    for left in path.parent.glob(f".{path.name}.new-*"):
        left.unlink()  # of a process that was killed here
    new = path.with_name(f".{path.name}.new-{secrets.token_hex(4)}")  # MLflow keeps those it knew
    try:
        opened = _check_tables(f"{_SQLITE}{new}", shown_as=path)
        opened._tracking_client.store.engine.dispose()
        new.replace(path)
    finally:
        for left in path.parent.glob(f"{new.name}*"):
            left.unlink()


def _half_made(path: Path) -> bool:
    """Whether an earlier version was killed while it made this file: it has no run, and never will.

    MLflow's migrations cannot go on from there.
    """
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
            named = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {name for (name,) in connection.execute(named)}
            if not any(name.startswith("_alembic_tmp_") for name in tables):
                return False
            kept = tables & {"runs", "_alembic_tmp_runs"}
            return not any(connection.execute(f"SELECT 1 FROM {name}").fetchone() for name in kept)
    except sqlite3.DatabaseError:
        return False  # damaged: `_check_file` says so


def _check_file(path: Path) -> None:
    """ConfigError if the file is cut or damaged."""
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            found = str(error)
    if found != "ok":
        raise ConfigError(
            f"The store {path} is damaged ({' '.join(found.split())}); put back a copy of it, or "
            "move it away or set MLFLOW_TRACKING_URI to start with an empty store."
        )


def _check_tables(uri: str, shown_as: Path | None = None) -> MlflowClient:
    """MLflow's client of the file, which has its tables now."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        opened = _client.__wrapped__(uri) if shown_as else _client(uri)
        opened.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError) as error:
        text = str(error).splitlines()[0]
        raise ConfigError(
            f"The store {shown_as or shown(uri)} cannot be opened ({text}); if it was left half "
            "made, move the file away: the next command makes a new one."
        ) from error
    return opened


def _relocate(connection: sqlite3.Connection, root: str) -> None:
    """Follow a moved project: MLflow keeps absolute artifact locations."""
    rows = connection.execute(
        "SELECT DISTINCT artifact_location FROM experiments JOIN experiment_tags "
        "USING (experiment_id) WHERE key = ? AND value = ? AND artifact_location != ?",
        (EXPERIMENT_TAG, OWN, root),
    ).fetchall()
    for (old,) in rows:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("trace_tags", "value"),  # where a trace's pictures lie
        ):
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (root, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )


def _check_server(uri: str) -> None:
    if not uri.startswith(("http://", "https://")):
        if ":" in uri and not uri.startswith("file:"):
            return  # a database server or hosted store: MLflow knows it
        raise ConfigError(
            f"MLFLOW_TRACKING_URI={uri} is a folder, which MLflow no longer supports; use "
            "sqlite:////path/to/mlflow.db or the address of a server."
        )
    try:
        urllib.request.urlopen(f"{shown(uri).rstrip('/')}/health", timeout=10).close()
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in, MLflow will say
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The MLflow server {shown(uri)} of MLFLOW_TRACKING_URI does not answer ({error}); "
            "start it or unset the variable."
        ) from error


def experiment_id(name: str) -> str:
    """Id of the experiment, created with the right artifact location if it is new."""
    from mlflow.exceptions import MlflowException

    opened = client()
    found: Any = opened.get_experiment_by_name(name)
    if found is None:
        try:
            return str(
                opened.create_experiment(
                    name,
                    artifact_location=artifact_root(),
                    tags={EXPERIMENT_TAG: OWN, **experiment_tags(name)},
                )
            )
        except MlflowException:  # another process was quicker
            found = opened.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"Experiment {name!r} was deleted in MLflow; restore it there or choose another name."
        )
    if EXPERIMENT_TAG not in found.tags:
        opened.set_experiment_tag(found.experiment_id, EXPERIMENT_TAG, ADOPTED)
    return str(found.experiment_id)
