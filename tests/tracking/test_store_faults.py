"""A store that was killed while it was made, cut, damaged or left half made: used, or named."""

import importlib
import itertools
import os
import signal
import sqlite3
from contextlib import closing

import pytest
from kill_worker import say_to, started

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError
from ekipl_lab.tracking import store


def opens(said, module, owner, name, calls):
    """Open the store, write a run and count the runs; die at the n-th call of the function, if one
    is named."""
    say_to(said, f"{said}.err")
    left = itertools.count(calls, -1)
    if module:
        holder = getattr(importlib.import_module(module), owner)
        original = getattr(holder, name)

        def dies(*arguments):
            if next(left) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        setattr(holder, name, dies)
    try:
        tracking.ensure_store()
        with tracking.open_run("first", "run"):
            pass
        print(len(tracking.list_runs()))
    except ConfigError as error:
        print(error)


def opened(path, *point):
    """How a process of its own that opens the store ends, what it says, and its errors."""
    said = path.with_name("said.txt")
    process = started(
        opens, str(said), *(point or ("", "", "", 0)), MLFLOW_TRACKING_URI=f"sqlite:///{path}"
    )
    process.join()
    errors = path.with_name("said.txt.err")
    return process.exitcode, said.read_text(encoding="utf-8"), errors.read_text(encoding="utf-8")


def test_a_store_killed_while_it_was_made_is_made_by_the_next_start(tmp_path):
    path = tmp_path / "mlflow.db"
    for point in (
        ("alembic.operations", "Operations", "batch_alter_table", 3),
        ("pathlib", "Path", "replace", 1),
    ):
        assert opened(path, *point)[0] == -signal.SIGKILL
        assert not path.exists() and list(tmp_path.glob(".mlflow.db.new-*"))
    path.touch()  # as another program may have left it
    assert opened(path)[:2] == (0, "1\n")
    assert not list(tmp_path.glob(".mlflow.db.new-*"))


@pytest.mark.parametrize("runs", [0, 1])
def test_a_half_made_store_of_an_earlier_version(tmp_path, runs):
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE _alembic_tmp_runs (a)")
        connection.execute("CREATE TABLE runs (a)")
        connection.executemany("INSERT INTO runs VALUES (?)", [("x",)] * runs)
    before = path.read_bytes()
    code, said, errors = opened(path)
    assert code == 0 and "Traceback" not in errors
    if runs:  # never moved by itself
        assert "mlflow.db cannot be opened" in said and "move the file away" in said
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT a FROM runs").fetchall() == [("x",)]
    else:
        (aside,) = tmp_path.glob("mlflow.db.half-made-*")
        assert said == "1\n" and aside.read_bytes() == before


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_cut_store_is_named_with_what_to_do(tmp_path, monkeypatch, keep):
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE experiments (a)")
        connection.executemany("INSERT INTO experiments VALUES (?)", [("x" * 100,)] * 2000)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    with pytest.raises(ConfigError, match=r"mlflow\.db is damaged .* put back a copy of it"):
        store.ensure_store()
