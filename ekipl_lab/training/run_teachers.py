"""The teachers of a run, with what they need of its benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ekipl_lab.errors import ConfigError
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.types import Sample

if TYPE_CHECKING:
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.teachers.spec import TeacherContext


def build_run_teachers(config: RunConfig, samples: Sequence[Sample]) -> list[Teacher]:
    """The teachers of a config; oracles get the benchmark's chain writer."""
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.teachers.build import build_teachers

    given = teacher_context(config, samples)
    sources = build_teachers(config.teachers, given.writer, styles=given.styles, pool=given.pool)
    pairs = zip(sources, config.teachers, strict=True)
    return [Teacher(source, spec.actions) for source, spec in pairs]


def teacher_context(config: RunConfig, samples: Sequence[Sample]) -> TeacherContext:
    """What teachers are given of a run: its chain writer, styles and answers.

    Raises:
        ConfigError: a teacher repeats the data's chains, and there are none.
    """
    from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
    from ekipl_lab.teachers.adapters.random import pool_of
    from ekipl_lab.teachers.spec import TeacherContext

    for spec in config.teachers:
        if getattr(spec, "cot", False) and not any(sample.cot for sample in samples):
            raise ConfigError(
                f"Teacher {spec.id!r} repeats chains of the data, which hold none; name their "
                "column (`columns: {cot: ...}`) or take another teacher."
            )
    has_scenes = config.data.benchmark == "mini"
    writer, styles = (write_chain, CHAIN_STYLES) if has_scenes else (None, ())
    return TeacherContext(writer, styles, pool_of(samples))
