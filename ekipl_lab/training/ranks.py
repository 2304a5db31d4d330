"""What the processes of a run do together: rank 0 decides, all hear it; an error on one ends all.

A single process does the same without anybody to tell.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from ekipl_lab.errors import ConfigError, EKIPLError
from ekipl_lab.files import write_sums

T = TypeVar("T")


def on_main(function: Callable[[], T]) -> T:
    """What ``function`` gives on rank 0, on every rank; where it raises there, all raise."""
    state = PartialState()
    if state.num_processes == 1:
        return function()
    said: list[Any] = [None, None]
    error: Exception | None = None
    if state.is_main_process:
        try:
            said[0] = function()
        except Exception as caught:
            error, said[1] = caught, _sayable(caught, 0)
    broadcast_object_list(said, from_process=0)
    if error is not None or said[1] is not None:
        raise error or said[1]
    found: T = said[0]
    return found


def together(function: Callable[[], T]) -> list[T]:
    """What ``function`` gives on each rank, in rank order; where one raises, all raise."""
    state = PartialState()
    if state.num_processes == 1:
        return [function()]
    found, error = None, None
    try:
        found = function()
    except Exception as caught:
        error = caught
    rank = state.process_index
    reports = gather_object([(found, None if error is None else _sayable(error, rank))])
    if error is not None:
        raise error
    if failures := [said for _, said in reports if said is not None]:
        raise failures[0]
    return [value for value, _ in reports]


def save_shards(trainer: Any, folder: Path) -> None:
    """The policy of a sharded run in ``folder``, sealed; all ranks bring their shards."""
    trainer.save_model(str(folder))
    on_main(lambda: write_sums(folder))


def check_shared(folder: Path) -> None:
    """ConfigError unless every rank sees in ``folder`` what rank 0 writes there."""
    if PartialState().num_processes == 1:
        return

    def mark() -> tuple[str, str]:
        name = f".seen-by-all-{secrets.token_hex(8)}"
        (folder / name).touch()
        return name, str(folder)

    name, of_main = on_main(mark)
    seen = together(lambda: (socket.gethostname(), (folder / name).exists()))
    on_main((folder / name).unlink)
    for rank, (host, sees) in enumerate(seen):
        if not sees:
            raise ConfigError(
                f"Rank {rank} on {host} does not see what rank 0 on {seen[0][0]} writes to the "
                f"run's folder {of_main}; set MLFLOW_TRACKING_URI on every machine to one store "
                "that all of them share."
            )


def _sayable(error: Exception, rank: int) -> EKIPLError:
    """An error as other ranks raise it: its own class where its message is for users."""
    if type(error).__module__ == EKIPLError.__module__ and isinstance(error, EKIPLError):
        return type(error)(str(error))
    return EKIPLError(f"Rank {rank} failed: {type(error).__name__}: {error}")
