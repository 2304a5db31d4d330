"""Launchers by name, and their options (``--launcher-option KEY=VALUE``)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.studies.cells import CellResult
from ekipl_lab.studies.launchers.local import run_cells
from ekipl_lab.training.config.overrides import apply_override
from ekipl_lab.validation import Section, complaint

#: Runs cells and says how each ended, as `local.run_cells` does.
Launch = Callable[..., list[CellResult]]
LAUNCHERS = ("local", "slurm", "ray")
Options = TypeVar("Options", bound=Section)


def get_launcher(name: str, given: Sequence[str] = ()) -> Launch:
    """The launcher of that name; ConfigError for an unknown one, option or missing package."""
    if name == "local":
        if given:
            raise ConfigError(f"Option {given[0]!r} is of slurm and ray; give --launcher with it.")
        return run_cells
    from ekipl_lab.studies.launchers.watch import launch

    if name == "slurm":
        from ekipl_lab.studies.launchers.slurm import SlurmEngine, SlurmOptions

        return functools.partial(launch, SlurmEngine(read_options(SlurmOptions, name, given)))
    if name == "ray":
        from ekipl_lab.studies.launchers.ray import RayEngine, RayOptions

        return functools.partial(launch, RayEngine(read_options(RayOptions, name, given)))
    raise unknown_name("launcher", name, LAUNCHERS)


def read_options(kind: type[Options], launcher: str, given: Sequence[str]) -> Options:
    """``key=value`` of each as settings of a launcher."""
    raw: dict[str, Any] = {}
    for option in given:
        apply_override(raw, option)
    if unknown := sorted(set(raw) - set(kind.model_fields)):
        raise unknown_name(f"option of launcher {launcher}", unknown[0], kind.model_fields)
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"--launcher-option: {complaint(first, where)}.") from error
