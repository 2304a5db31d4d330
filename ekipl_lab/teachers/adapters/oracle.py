"""A teacher that knows the ground truth and errs at a set rate.

It writes reference chains with a writer that it is given: ``writer(sample, style=..., fault=...,
rng=...) -> completion``, such as ``benchmarks.mini.chains.write_chain``. A share ``accuracy``
of its actions is faultless; the others have the fault of ``fault_mode``:

- ``wrong_answer``: the answer is wrong, so the reward can see it;
- ``wrong_chain``: the answer is right and the reasoning is not: the reward cannot see it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, Protocol

from ekipl_lab.errors import ConfigError, TeacherError, unknown_name
from ekipl_lab.teachers.adapters.text import TextTeacher
from ekipl_lab.teachers.draws import draw_actions
from ekipl_lab.types import Action, GenerationParams, Sample

FaultMode = Literal["wrong_answer", "wrong_chain"]
FAULT_MODES: tuple[FaultMode, ...] = ("wrong_answer", "wrong_chain")

#: The style that draws one of the writer's styles anew for every action.
ANY_STYLE = "any"


class ChainWriter(Protocol):
    """Writes one whole completion, tags included, for a sample whose scene it knows."""

    def __call__(self, sample: Sample, *, style: str, fault: str, rng: random.Random) -> str:
        """``fault`` is none, wrong_answer or wrong_chain; all chance comes from ``rng``."""
        ...


class OracleTeacher(TextTeacher):
    """See the module's docstring. ``styles`` are the styles that the writer knows."""

    def __init__(
        self,
        id: str,
        writer: ChainWriter,
        *,
        accuracy: float = 1.0,
        style: str = ANY_STYLE,
        fault_mode: FaultMode = "wrong_answer",
        seed: int = 0,
        styles: Sequence[str] = (),
    ) -> None:
        if not 0.0 <= accuracy <= 1.0:
            raise ConfigError(f"Teacher {id!r}: accuracy {accuracy} must be between 0 and 1.")
        if fault_mode not in FAULT_MODES:
            raise unknown_name(f"fault_mode of teacher {id!r}", fault_mode, FAULT_MODES)
        if style == ANY_STYLE and not styles:
            raise ConfigError(
                f"Teacher {id!r}: style {ANY_STYLE!r} needs the list of styles its writer knows."
            )
        if styles and style not in (*styles, ANY_STYLE):
            raise unknown_name(f"style of teacher {id!r}", style, (*styles, ANY_STYLE))
        super().__init__(id)
        self._writer, self._seed = writer, seed
        self._accuracy, self._fault_mode = accuracy, fault_mode
        self._styles = tuple(styles) if style == ANY_STYLE else (style,)

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """``num_actions`` chains for every sample; TeacherError where the writer cannot."""
        return draw_actions(self._act, samples, num_actions, seed=self._seed, draw=params.seed)

    def _act(self, sample: Sample, rng: random.Random) -> Action:
        fault = "none" if rng.random() < self._accuracy else self._fault_mode
        style = self._styles[rng.randrange(len(self._styles))]
        try:
            text = self._writer(sample, style=style, fault=fault, rng=rng)
        except (KeyError, ValueError, TypeError) as error:
            raise TeacherError(
                f"Teacher {self._id!r}: no chain can be written for sample {sample.id} ({error!r})."
            ) from error
        return self._action(text, f"oracle:{style}:{fault}")
