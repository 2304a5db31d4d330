"""The teachers' answers of one generation: asked side by side, and early where that can be.

::

    with Asking(teachers) as asking:
        answers = [asking.put(question) for question in questions]   # servers are asked from now on
        ...                                                          # e.g. the policy generates
        actions = [answer() for answer in answers]

A teacher behind a gateway waits for a server, so it is asked from a thread; what computes here is
asked in turn, by the caller, once its answer is wanted. What is asked, paid and given is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from ekipl_lab.errors import TeacherError
from ekipl_lab.groups.candidates import reward_totals
from ekipl_lab.groups.doctor.causes import have_spread
from ekipl_lab.groups.gates import AFTER_POLICY, TeacherGates
from ekipl_lab.groups.options import StepContext, Teacher
from ekipl_lab.teachers.ensemble import gateways, members_of
from ekipl_lab.types import Action, GenerationParams, RewardBreakdown, Sample

#: What a teacher gave to one prompt, None for an action that never came; or why it was not asked.
Answer = list[Action | None] | str
#: The actions of every sample of a question; waits for them.
Given = Callable[[], list[list[Action]]]


@dataclass(frozen=True, slots=True)
class Question:
    """What one teacher is asked: ``count`` actions of each of ``samples``.

    ``closed`` (n prompts): why it is not asked about a prompt (`gates.REASONS`), or None.
    """

    teacher: Teacher
    closed: tuple[str | None, ...]
    samples: tuple[Sample, ...]
    count: int
    params: GenerationParams


def question(
    teacher: Teacher,
    samples: Sequence[Sample],
    own: Sequence[Sequence[RewardBreakdown]],
    gates: TeacherGates,
    context: StepContext,
    max_new_tokens: int,
) -> Question:
    """What to ask a teacher, given what the policy's own actions of each prompt earned."""
    name, count = teacher.source.id, gates.actions(teacher.actions, context.step)
    closed = tuple(
        gates.closed(
            name, sample,
            successes=sum(reward.success is True for reward in rewards),
            spread=have_spread(reward_totals(rewards)),
            step=context.step, draw=context.draw, spent=context.spent,
        ) if count else "schedule"
        for sample, rewards in zip(samples, own, strict=True)
    )  # fmt: skip
    asked = tuple(sample for sample, why in zip(samples, closed, strict=True) if why is None)
    params = GenerationParams(max_new_tokens=max_new_tokens, seed=context.draw)
    return Question(teacher, closed, asked, count, params)


def answers_of(asked: Question, proposed: Sequence[Sequence[Action]]) -> list[Answer]:
    """By prompt: the actions, or why there are none; TeacherError for more than asked for."""
    name = asked.teacher.source.id
    for sample, actions in zip(asked.samples, proposed, strict=True):
        if len(actions) > asked.count:
            raise TeacherError(
                f"Teacher {name!r} gave {len(actions)} actions for sample {sample.id}, not "
                f"{asked.count}."
            )
    answers = iter(proposed)
    return [why or _padded(next(answers), asked.count) for why in asked.closed]


def _padded(actions: Sequence[Action], count: int) -> Answer:
    return [*[None] * (count - len(actions)), *actions]


def can_be_early(teacher: Teacher, samples: Sequence[Sample], gates: TeacherGates) -> bool:
    """Whether servers alone answer for a teacher, and no gate looks at the policy's result."""
    return behind_gateways(teacher) and not any(
        gates.gate(teacher.source.id, sample) in AFTER_POLICY for sample in samples
    )


def behind_gateways(teacher: Teacher) -> bool:
    """Whether all that a teacher gives comes through gateways."""
    source, count = teacher.source, teacher.actions
    return len(gateways(source, count)) == len(members_of(source, count))


class Asking:
    """Context manager; see the module.

    Left on an error, Ctrl-C included, it has gateways send nothing more, and waits for the requests
    in flight: they are paid for, and kept.
    """

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        remote = [teacher for teacher in teachers if behind_gateways(teacher)]
        self._gateways: Mapping[str, Any] = {
            teacher.source.id: [gateway for gateway, _ in gateways(teacher.source, teacher.actions)]
            for teacher in remote
        }
        self._pool = ThreadPoolExecutor(max(1, len(remote)), thread_name_prefix="asking")

    def put(self, asked: Question) -> Given:
        """Ask, or keep the question until its answer is wanted."""
        if not asked.samples:
            return list
        source = asked.teacher.source
        ask = partial(source.propose, asked.samples, asked.count, asked.params)
        return self._pool.submit(ask).result if source.id in self._gateways else ask

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with ExitStack() as halted:
            if kind is not None:
                for members in self._gateways.values():
                    for gateway in members:
                        halted.enter_context(gateway.halted())
            self._pool.shutdown(wait=True)
