"""Whether teachers have what the run will ask of them, before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.options import EKIPLOptions, Teacher
from ekipl_lab.teachers.adapters.replay import CotTeacher, ReplayTeacher
from ekipl_lab.teachers.ensemble import gateways
from ekipl_lab.training.prefetch import PromptSchedule
from ekipl_lab.types import GenerationParams, Sample


def asked_about(args: Any, samples: Sequence[Sample], steps: int) -> list[Sample]:
    """The samples that a run of ``steps`` asks teachers about on this rank; all of them if it
    makes several passes. ``args`` are TRL's arguments."""
    schedule = PromptSchedule(args, len(samples), steps)
    indices = []
    for place in schedule.following((0, 0)):
        if place[0]:
            return list(samples)
        indices += schedule.prompts(place)
    return [samples[index] for index in indices]


def check_recorded(
    teachers: Sequence[Teacher],
    options: EKIPLOptions,
    args: Any,
    samples: Sequence[Sample],
    steps: int,
) -> None:
    """TeacherError for a recording, or chains of the data, that lack a sample of the run.

    A sample with another gate than ``always`` may never be asked about; a refill may draw any.
    """
    repeating = [t for t in teachers if isinstance(t.source, ReplayTeacher | CotTeacher)]
    if not repeating:
        return
    asked = samples if options.refill.rounds else asked_about(args, samples, steps)
    gate = options.gates(args.seed).gate
    for teacher in repeating:
        for sample in asked:
            if gate(teacher.source.id, sample) != "always":
                continue
            teacher.source.propose([sample], teacher.actions, GenerationParams(max_new_tokens=1))


def check_ahead(generations: int, teachers: Sequence[Teacher]) -> None:
    """ConfigError where actions are to be bought ahead, and no teacher is one that is paid."""
    if generations and not any(list(gateways(t.source, t.actions)) for t in teachers):
        raise ConfigError(
            "prefetch.generations is set, and no teacher is behind a gateway; leave it at 0."
        )
