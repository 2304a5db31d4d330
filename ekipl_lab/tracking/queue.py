"""Metrics are written by a thread of their own: a training step does not wait for the store."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

#: MLflow takes at most this many metrics at once.
BATCH = 1000
#: Seconds to wait before each new attempt at a store that is busy or away for a moment.
WAITS = (0.1, 0.5, 2.0, 5.0)


class MetricQueue:
    """Writes metrics of one run in order, in the background; writing one twice does no harm."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._inbox: queue.SimpleQueue[list[Metric] | threading.Event | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="ekipl-metrics", daemon=True)
        self._thread.start()

    def put(self, metrics: list[Metric]) -> None:
        """Take metrics to be written soon."""
        self._inbox.put(metrics)

    def flush(self) -> None:
        """Wait until everything is written; raise what went wrong since the last flush."""
        done = threading.Event()
        self._inbox.put(done)
        while not done.wait(timeout=1.0):
            if not self._thread.is_alive():
                raise RuntimeError("The thread that writes metrics has ended.")
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """Flush and end the thread."""
        try:
            self.flush()
        finally:
            self._inbox.put(None)
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            item = self._inbox.get()
            batch: list[Metric] = []
            while isinstance(item, list):
                batch.extend(item)
                if self._inbox.empty():
                    item = []
                    break
                item = self._inbox.get()
            self._write(batch)
            if isinstance(item, threading.Event):
                item.set()
            elif item is None:
                return

    def _write(self, batch: list[Metric]) -> None:
        for start in range(0, len(batch), BATCH):
            try:
                retrying(self._client.log_batch, self._run_id, metrics=batch[start : start + BATCH])
            except Exception as error:
                self._error = error


def retrying(function: Any, *arguments: Any, **named: Any) -> Any:
    """Call a store function again when the store says that it is busy or away for a moment."""
    from mlflow.exceptions import MlflowException

    for wait in (*WAITS, None):
        try:
            return function(*arguments, **named)
        except MlflowException as error:
            if wait is None or error.error_code != "TEMPORARILY_UNAVAILABLE":
                raise
            time.sleep(wait)
    raise AssertionError("unreachable")
