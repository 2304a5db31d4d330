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
from typing import Literal

from pydantic import Field

from ekipl_lab.errors import ConfigError, TeacherError, unknown_name
from ekipl_lab.teachers.adapters.text import TextTeacher
from ekipl_lab.teachers.spec import ChainWriter, TeacherContext, TeacherSpecBase
from ekipl_lab.types import Action, Sample

FaultMode = Literal["wrong_answer", "wrong_chain"]

#: The style that draws one of the writer's styles anew for every action.
ANY_STYLE = "any"


class OracleSpec(TeacherSpecBase):
    """Knows the ground truth, and errs at a set rate in the way of ``fault_mode``."""

    type: Literal["oracle"] = "oracle"
    accuracy: float = Field(default=1.0, ge=0.0, le=1.0)
    style: str = ANY_STYLE
    fault_mode: FaultMode = "wrong_answer"

    def build(self, context: TeacherContext) -> OracleTeacher:
        if context.writer is None:
            raise ConfigError(f"Teacher {self.id!r}: this benchmark has no chain writer.")
        return OracleTeacher(
            self.id,
            context.writer,
            accuracy=self.accuracy,
            style=self.style,
            fault_mode=self.fault_mode,
            seed=self.resolved_seed,
            styles=context.styles,
        )


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
        if style == ANY_STYLE and not styles:
            raise ConfigError(
                f"Teacher {id!r}: style {ANY_STYLE!r} needs the list of styles its writer knows."
            )
        if styles and style not in (*styles, ANY_STYLE):
            raise unknown_name(f"style of teacher {id!r}", style, (*styles, ANY_STYLE))
        super().__init__(id, seed=seed)
        self._writer = writer
        self._accuracy, self._fault_mode = accuracy, fault_mode
        self._styles = tuple(styles) if style == ANY_STYLE else (style,)

    def _act(self, sample: Sample, rng: random.Random) -> Action:
        fault = "none" if rng.random() < self._accuracy else self._fault_mode
        style = self._styles[rng.randrange(len(self._styles))]
        try:
            text = self._writer(sample, style=style, fault=fault, rng=rng)
        except (KeyError, ValueError, TypeError) as error:
            raise TeacherError(
                f"Teacher {self.id!r}: no chain can be written for sample {sample.id} ({error!r})."
            ) from error
        return self._action(text, f"oracle:{style}:{fault}")
