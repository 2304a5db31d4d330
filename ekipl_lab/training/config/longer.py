"""An earlier start of a run against its config of today: equal, or the same run made longer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.training.config.run_config import RunConfig, parse_config


def as_now(before: dict[str, Any], config: RunConfig) -> dict[str, Any]:
    """An earlier start's settings, with today's defaults for keys that there were not then.

    More ``grpo.max_steps`` than then are the same run, longer: its learning rate must not depend
    on the length, or the steps already done would have been others.
    """
    with contextlib.suppress(ConfigError):  # what cannot be read is compared as it is
        before = parse_config(before).model_dump(mode="json")
    if extended({"config": before}, config):
        given = config.grpo_settings
        if not _alike(given):
            raise ConfigError(
                f"Run {config.name!r} cannot be made longer: with grpo.lr_scheduler_type "
                f"{given['lr_scheduler_type']!r} the steps already done depend on grpo.max_steps; "
                "only a constant learning rate does not, also after so many grpo.warmup_steps."
            )
        before = before | {"grpo": before["grpo"] | {"max_steps": config.grpo["max_steps"]}}
    return before


def extended(note: Mapping[str, Any] | None, config: RunConfig) -> bool:
    """Whether the config asks for more steps than the run was started with."""
    before = int((note or {"config": {}})["config"].get("grpo", {}).get("max_steps", -1))
    return 0 < before < int(config.grpo.get("max_steps", -1))


def _alike(grpo: Mapping[str, Any]) -> bool:
    """Whether a step's learning rate is the same however many steps follow."""
    steps = grpo.get("warmup_steps", 0)
    fixed = steps == 0 or steps >= 1  # below 1 it is a share of all steps
    kinds = {"constant", "constant_with_warmup"} if fixed else {"constant"}
    return str(grpo["lr_scheduler_type"]) in kinds and not grpo.get("warmup_ratio")
