"""The plan of a run (`ekipl train --dry-run`): settings, data, prompts, memory, costs."""

from __future__ import annotations

from collections.abc import Iterator

from ekipl_lab.errors import DataError
from ekipl_lab.training.config.plan import describe_plan, plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import batch_sizes, planned_processes
from ekipl_lab.training.memory.costs import cost_lines
from ekipl_lab.training.memory.estimate import describe_memory, processor_at_hand, run_shape
from ekipl_lab.training.memory.prompts import prompt_sizes
from ekipl_lab.training.setup import check_setup


def plan_texts(config: RunConfig) -> Iterator[str]:
    """The parts of the plan as they become known; ConfigError where the run cannot be made."""
    yield describe_plan(config)
    try:
        found = check_setup(config)
    except DataError:
        describe_memory(config)  # what is too large is said first
        raise
    yield found.text
    if not found.samples:
        yield describe_memory(config)
        return
    sizes = prompt_sizes(found.samples, run_shape(config), processor_at_hand(config))
    yield sizes.line()
    yield describe_memory(config, sizes)
    plan = plan_run(config, len(found.samples), batch_sizes(config, planned_processes(config)))
    yield "\n".join(cost_lines(config, plan, sizes, found.teachers, found.samples))
