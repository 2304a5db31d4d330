"""Metrics are written by a thread of their own: a training step does not wait for the store."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

#: MLflow takes at most this many metrics at once.
BATCH = 1000
#: Seconds to wait before each new attempt at a store that is busy or away for a moment.
WAITS = (0.1, 0.5, 2.0, 5.0)


class MetricQueue:
    """Writes metrics of one run in the background, in order.

    After an error nothing is written until ``flush`` has raised it: what a resumed run finds is
    always a beginning of what was logged, without gaps.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._thread = ThreadPoolExecutor(1, "ekipl-metrics")
        self._writes: list[Future[None]] = []
        self._failed = False

    def put(self, metrics: list[Metric]) -> None:
        """Take metrics to be written soon."""
        self._writes.append(self._thread.submit(self._write, metrics))

    def flush(self) -> None:
        """Wait until everything is written; raise what went wrong since the last flush."""
        wait(self._writes)
        writes, self._writes, self._failed = self._writes, [], False
        for write in writes:
            write.result()

    def close(self) -> None:
        """Flush and end the thread."""
        try:
            self.flush()
        finally:
            self._thread.shutdown()

    def _write(self, metrics: list[Metric]) -> None:
        if self._failed:
            return
        try:
            for start in range(0, len(metrics), BATCH):
                batch = metrics[start : start + BATCH]
                retrying(self._client.log_batch, self._run_id, metrics=batch)
        except Exception:
            self._failed = True
            raise


def retrying(function: Any, *arguments: Any, **named: Any) -> Any:
    """Call a store function again when the store says that it is busy or away for a moment."""
    from mlflow.exceptions import MlflowException

    for seconds in WAITS:
        try:
            return function(*arguments, **named)
        except MlflowException as error:
            if error.error_code != "TEMPORARILY_UNAVAILABLE":
                raise
        time.sleep(seconds)
    return function(*arguments, **named)
