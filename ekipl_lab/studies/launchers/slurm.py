"""Cells as jobs of Slurm, through submitit; ``cluster=local`` runs its jobs on this machine.

Before a job's time is up, or where it must make room, submitit asks it to leave: the cell saves
itself and the job goes back to the queue. The state of jobs is asked from `squeue`, which needs no
accounting database. Logs, work and records lie in folders that all machines share.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ekipl_lab.errors import ConfigError
from ekipl_lab.studies.launchers.job import Answer, Job
from ekipl_lab.studies.launchers.local import JOBS
from ekipl_lab.studies.launchers.watch import Lost
from ekipl_lab.validation import Count, Section

try:
    import submitit
    from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError
except ImportError as error:
    raise ConfigError(
        "The launcher slurm needs submitit; run `pip install 'ekipl-lab[slurm]'`."
    ) from error

#: States of `squeue` in which a job has ended; in every other one it runs, or will.
_ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE",
          "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}  # fmt: skip
_UNKNOWN = "not in the queue"
#: Looks at the queue that may fail one after the other.
_PATIENCE = 20


class SlurmOptions(Section):
    """``time`` in minutes; ``mem`` as Slurm has it (16G); ``poll``: seconds between two looks."""

    cluster: Literal["slurm", "local"] = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: Count = 24 * 60
    cpus: Count = 1
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    mem: str | None = None
    requeues: Count = 10
    poll: Annotated[float, Field(gt=0, le=600)] = 5.0


class SlurmJob(Job):
    """A job that submitit can put back into the queue."""

    def checkpoint(self) -> DelayedSubmission:
        """Have the cell save itself; the job that continues it."""
        self.stop()
        return DelayedSubmission(self.again())


class SlurmEngine:
    """See `watch.Engine`. A handle is submitit's job."""

    environment: Mapping[str, str] = {}  # sbatch hands on the whole environment

    def __init__(self, options: SlurmOptions) -> None:
        self.options, self.requeues = options, options.requeues
        self.local = options.cluster == "local"
        self.jobs = JOBS if self.local else None
        self._gone: set[str] = set()

    def submit(self, job: Job) -> Any:
        """The job, which may already be in the queue since an earlier start of the study."""
        folder = job.logs / "submitit"
        note = folder / f"{job.cell.name}.job"
        if not self.local and note.exists():
            known = note.read_text(encoding="utf-8").strip()
            if self._states().get(known, "COMPLETED") not in _ENDED:
                return submitit.SlurmJob(folder, known)
        sent = SlurmJob(job.cell, job.folder, job.logs, job.threads, job.fresh)
        executor = self._executor(folder, job.cell.name)
        try:
            handle = executor.submit(sent)
        except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"Slurm refuses cell {job.cell.name}: {reason}.") from error
        note.write_text(f"{handle.job_id}\n", encoding="utf-8")
        return handle

    def _executor(self, folder: Path, name: str) -> Any:
        own = self.options
        if self.local:
            here = submitit.LocalExecutor(folder, max_num_timeout=own.requeues)
            here.update_parameters(timeout_min=own.time, gpus_per_node=own.gpus)
            return here
        try:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=own.requeues)
        except RuntimeError as error:
            raise ConfigError(
                "No Slurm is here (srun is not on the PATH); start the study where it is, or give "
                "--launcher-option cluster=local."
            ) from error
        given = {"partition": own.partition, "account": own.account, "qos": own.qos,
                 "mem": own.mem, "gpus_per_node": own.gpus or None}  # fmt: skip
        executor.update_parameters(
            job_name=name,
            time=own.time,
            cpus_per_task=own.cpus,
            additional_parameters={"requeue": True},
            **{key: value for key, value in given.items() if value is not None},
        )
        return executor

    def _states(self) -> dict[str, str]:
        """Job -> state, of this user's jobs, also those that ended a short while ago."""
        command = ["squeue", "--me", "--noheader", "--states=all", "--format=%i %T"]
        for _ in range(_PATIENCE):
            said = subprocess.run(command, capture_output=True, text=True)
            if said.returncode == 0:
                return dict(line.split() for line in said.stdout.splitlines())
            time.sleep(self.options.poll)
        raise ConfigError(
            f"Slurm does not answer ({said.stderr.strip()}); its jobs go on, and the same command "
            "watches them again."
        )

    def ended(self, running: Mapping[str, Any]) -> dict[str, Answer | Lost]:
        """A job without a result is lost at the second look: shared folders show files late."""
        time.sleep(self.options.poll)
        states = {} if self.local else self._states()
        found: dict[str, Answer | Lost] = {}
        for name, job in running.items():
            if job.paths.result_pickle.exists():
                found[name] = _answer(job)
                continue
            state = job.state if self.local else states.get(job.job_id, _UNKNOWN)
            if not job.done() if self.local else state not in {*_ENDED, _UNKNOWN}:
                self._gone.discard(job.job_id)
            elif job.job_id in self._gone:
                found[name] = Lost(f"job {job.job_id}: {state}", again=state != "CANCELLED")
            else:
                self._gone.add(job.job_id)
        return found

    def cancel(self, handle: Any) -> None:
        """Slurm's `scancel`, or an interrupt of the process here."""
        handle.cancel(check=False)


def _answer(job: Any) -> Answer:
    """What the job gave; where it failed around its cell, the last line of the trace."""
    failure = job.exception()
    if failure is None:
        answer: Answer = job.result()
        return answer
    lines = [line for line in str(failure).splitlines() if "Error" in line]
    return Answer(1, None, lines[-1] if lines else str(failure))
