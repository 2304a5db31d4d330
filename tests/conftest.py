"""What holds for the whole suite: Ctrl-C reaches the tests of interrupts, also where the suite was
started in the background and ignores it; what costs seconds in every test is done once."""

import gc
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ekipl_lab.tracking import store

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def settled_heap() -> None:
    """Libraries hold millions of objects; a full collection, which accelerate starts after every
    training, searches them for half a second unless they are frozen."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def store_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty store is a copy of one that MLflow made: its migrations take two seconds.

    Stores made by child processes, and so all tests of how a store is made, go the whole way.
    """
    made, create = tmp_path_factory.mktemp("empty_store") / "mlflow.db", store._create

    def copy(path: Path) -> None:
        if not made.exists():
            create(made)
        new = path.with_name(f".{path.name}.new-copy")
        shutil.copyfile(made, new)
        new.replace(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_create", copy)
        yield
