"""Cells on an engine: submitted, shown, requeued when killed, and their ends told apart.

A cell whose job or machine went away is submitted again, a bounded number of times; one that ended
with an error of its own is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ekipl_lab.errors import ConfigError
from ekipl_lab.studies.cells import CellResult, EventSink, RunSpec, parse_event
from ekipl_lab.studies.launchers.job import Answer, Job, last_line


@dataclass(frozen=True, slots=True)
class Lost:
    """A job that gave no answer: what the engine says of it, and whether to submit it again."""

    why: str
    again: bool = True


class Engine(Protocol):
    """Where jobs run. A handle is whatever the engine knows a submitted job by."""

    #: How often a cell that was killed is submitted again.
    requeues: int
    #: Jobs at a time where ``--jobs`` is not given; None: all.
    jobs: int | None
    #: What a machine of the engine needs of this one's environment.
    environment: Mapping[str, str]

    def submit(self, job: Job) -> Any:
        """Hand a job over (or find it, where it is still there); its handle."""

    def ended(self, running: Mapping[str, Any]) -> dict[str, Answer | Lost]:
        """Cell -> how its job ended, of those that did; waits for a moment."""

    def cancel(self, handle: Any) -> None:
        """End a job; its cell saves itself."""


class _Tail:
    """The events that a log in the shared folder has had since the last look."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.position = log.stat().st_size if log.exists() else 0

    def events(self) -> list[dict[str, Any]]:
        """Those of whole lines."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(self.position)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.position += len(whole)
        found = map(parse_event, whole.decode("utf-8", "replace").splitlines())
        return [event for event in found if event is not None]


def launch(
    engine: Engine,
    cells: Sequence[RunSpec],
    *,
    jobs: int | None = None,
    logs: Path,
    on_event: EventSink,
    threads: int = 1,
    fresh: bool = False,
) -> list[CellResult]:
    """Run all cells on an engine, at most ``jobs`` at a time, and give their results in order.

    Ctrl-C cancels the jobs. Jobs whose watcher died go on; a second start watches them again.
    """
    limit = engine.jobs or max(len(cells), 1) if jobs is None else jobs
    if limit < 1:
        raise ConfigError(f"--jobs is {jobs}; it must be at least 1.")
    logs.mkdir(parents=True, exist_ok=True)
    folder, extra = Path.cwd(), engine.environment
    sent = {cell.name: Job(cell, folder, logs, threads, fresh, extra) for cell in cells}
    for job in sent.values() if fresh else ():
        job.log.unlink(missing_ok=True)
    tails = {name: _Tail(job.log) for name, job in sent.items()}
    waiting, running, ends = list(sent), dict[str, Any](), dict[str, Answer]()
    lost: Counter[str] = Counter()
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                name = waiting.pop(0)
                running[name] = engine.submit(sent[name].again())
            found = engine.ended(running)
            for name, tail in tails.items():
                for event in tail.events():
                    on_event(name, event)
            for name, end in found.items():
                del running[name]
                if _again(end) and lost[name] < engine.requeues:
                    lost[name] += 1
                    waiting.append(name)
                    on_event(name, {"event": "progress", "phase": f"requeued ({_why(end)})"})
                else:
                    ends[name] = _final(end, lost[name])
    except KeyboardInterrupt:
        for handle in running.values():
            engine.cancel(handle)
        raise
    return [_result(sent[cell.name], ends[cell.name]) for cell in cells]


def _again(end: Answer | Lost) -> bool:
    return end.again if isinstance(end, Lost) else end.killed


def _why(end: Answer | Lost) -> str:
    return end.why if isinstance(end, Lost) else f"killed, exit code {end.returncode}"


def _final(end: Answer | Lost, before: int) -> Answer:
    """The answer to keep; one sentence where there is none, or where the cell was killed."""
    if isinstance(end, Answer) and not end.killed:
        return end
    times = f" as {before} times before" if before else ""
    hint = "see its log, give it more memory or time, and give the same command" if before else (
        "the same command continues it")  # fmt: skip
    return Answer(1, None, f"the cell was ended from outside{times} ({_why(end)}); {hint}.")


def _result(job: Job, end: Answer) -> CellResult:
    """The result; what was said last stands at the end of a log here, also of a far machine."""
    if end.returncode and last_line(job.log) != end.said:
        text = job.log.read_text(encoding="utf-8") if job.log.exists() else ""
        with job.log.open("a", encoding="utf-8") as log:  # a killed cell leaves half a line
            log.write("\n" * (text[-1:] not in ("", "\n")) + end.said + "\n")
    return CellResult(job.cell, end.returncode, end.run_id, job.log)
