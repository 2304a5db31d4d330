"""Cells as tasks of Ray with resources; on the cluster at ``address``, or one on this machine.

Each task is a process of its own. A task whose process or machine died is submitted again by
`watch`. Ray hands no environment on, so that what MLflow and this project read is sent along.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ekipl_lab.errors import ConfigError
from ekipl_lab.libraries import reason
from ekipl_lab.studies.launchers.job import Answer, Job
from ekipl_lab.studies.launchers.watch import Lost
from ekipl_lab.validation import Count, Section

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
    from ray import exceptions
except ImportError as error:
    raise ConfigError("The launcher ray needs Ray; run `pip install 'ekipl-lab[ray]'`.") from error

#: Beginnings of the names of variables that a task is given.
_SENT = ("MLFLOW_", "EKIPL_", "HF_")
#: Bytes of shared memory of a Ray that is started here: tasks take and give a few lines.
_STORE = 100 * 2**20


class RayOptions(Section):
    """``memory`` in bytes; ``resources``: custom ones of the cluster, such as {"a100": 1}."""

    address: str | None = None
    cpus: Annotated[float, Field(ge=0, le=4096)] = 1.0
    gpus: Annotated[float, Field(ge=0, le=64)] = 0.0
    memory: Annotated[int, Field(ge=1)] | None = None
    resources: dict[str, float] = Field(default_factory=dict)
    requeues: Count = 10
    poll: Annotated[float, Field(gt=0, le=600)] = 2.0


def _run(job: Job) -> Answer:
    return job()


class RayEngine:
    """See `watch.Engine`. A handle is the reference of a task."""

    jobs: int | None = None  # Ray starts what its resources allow

    def __init__(self, options: RayOptions) -> None:
        self.options, self.requeues = options, options.requeues
        sent = {k: v for k, v in os.environ.items() if k.startswith(_SENT)}
        self.environment: Mapping[str, str] = sent
        address = options.address or os.environ.get("RAY_ADDRESS")
        own = {"object_store_memory": _STORE, "include_dashboard": False}
        here: dict[str, Any] = {} if address else own
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR,
                     ignore_reinit_error=True, **here)  # fmt: skip
        except Exception as error:  # Ray raises plain ones, too
            raise ConfigError(
                f"No Ray answers at {address or 'this machine'} ({reason(error)}); start one there "
                "with `ray start`, or leave the address out."
            ) from error
        self._task = ray.remote(max_calls=1, max_retries=0)(_run)

    def submit(self, job: Job) -> Any:
        """Queue the task; it starts once its resources are free."""
        own = self.options
        asked = {"num_cpus": own.cpus, "num_gpus": own.gpus, "memory": own.memory,
                 "resources": own.resources or None, "name": job.cell.name}  # fmt: skip
        given = {key: value for key, value in asked.items() if value is not None}
        return self._task.options(**given).remote(job)

    def ended(self, running: Mapping[str, Any]) -> dict[str, Answer | Lost]:
        """Those whose task gave an answer, failed, or was lost."""
        references = list(running.values())
        done, _ = ray.wait(references, num_returns=len(references), timeout=self.options.poll)
        return {name: _end(task) for name, task in running.items() if task in done}

    def cancel(self, handle: Any) -> None:
        """An interrupt of the task; its cell saves itself."""
        ray.cancel(handle)


def _end(task: Any) -> Answer | Lost:
    try:
        answer: Answer = ray.get(task)
        return answer
    except exceptions.RayTaskError as error:  # an error around the cell, not of it
        return Answer(1, None, str(error).strip().splitlines()[-1])
    except exceptions.TaskCancelledError:
        return Lost("cancelled", again=False)
    except exceptions.RayError as error:
        return Lost(type(error).__name__)
