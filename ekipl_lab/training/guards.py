"""What surrounds a run: requests to stop, and the lock that keeps a second process out."""

from __future__ import annotations

import contextlib
import gc
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from filelock import FileLock, Timeout

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import remove_temporary


class Signals:
    """Whether to stop: at the caller's request, or the first SIGINT (the second one interrupts)."""

    def __init__(self, stop: Callable[[], bool] | None) -> None:
        self._stop, self.interrupted = stop, False

    def wanted(self) -> bool:
        """True once the run is to end after its current step."""
        return self.interrupted or (self._stop is not None and self._stop())

    def __call__(self, number: int, frame: Any) -> None:
        """The signal handler."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True


class Stopped(Exception):
    """The caller asked the run to stop; everything that can be continued from is saved."""


@contextlib.contextmanager
def interruptible(stop: Callable[[], bool] | None) -> Iterator[Signals]:
    """Ctrl-C becomes a request to stop, in the main thread; elsewhere only ``stop`` counts."""
    signals = Signals(stop)
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = signal.signal(signal.SIGINT, signals)
    try:
        yield signals
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def only_one(folder: Path, waits: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the run's lock; ConfigError if another process does. Rank 0 holds it for all ranks.

    With ``waits``, which is called once, that process is waited for. What a killed one left
    half-written is deleted, and at the end a folder in which nothing was kept.
    """
    lock = FileLock(folder / "lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            if waits is None:
                raise
            waits()
            lock.acquire(timeout=-1)
    except Timeout as error:
        raise ConfigError(
            f"Run {folder.name!r} is being trained by another process; wait, or give another name."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"The run's folder {folder} cannot be written ({error}); make it writable, or set "
            "MLFLOW_TRACKING_URI to another place."
        ) from error
    try:
        remove_temporary(folder)
        yield
    finally:
        if [path.name for path in folder.iterdir()] == ["lock"]:
            shutil.rmtree(folder)  # before the lock is free for another process
        lock.release()


def leave_processes() -> None:
    """Leave a distributed run before Python shuts down; nothing to do in a single process.

    Trainers lie in reference cycles and hold the process group: where the interpreter's exit frees
    them, threads of gloo may still run, and a run that went well ends in SIGABRT. Call it where no
    trainer is referenced any more.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        gc.collect()
        distributed.destroy_process_group()


@contextlib.contextmanager
def same_error(processes: int) -> Iterator[None]:
    """A DataError within the block on one of so many processes is raised on all of them."""
    error: DataError | None = None
    try:
        yield
    except DataError as caught:
        error = caught
    texts = gather_object([str(error) if error else ""]) if processes > 1 else []
    if error is not None:
        raise error
    if found := next(filter(None, texts), None):
        raise DataError(found)
