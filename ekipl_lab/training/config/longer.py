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
        schedule = config.grpo_settings["lr_scheduler_type"]
        if schedule != "constant":
            raise ConfigError(
                f"Run {config.name!r} cannot be made longer: with grpo.lr_scheduler_type "
                f"{schedule!r} the steps already done depend on grpo.max_steps; only a constant "
                "learning rate does not."
            )
        before = before | {"grpo": before["grpo"] | {"max_steps": config.grpo["max_steps"]}}
    return before


def extended(note: Mapping[str, Any] | None, config: RunConfig) -> bool:
    """Whether the config asks for more steps than the run was started with."""
    before = int((note or {"config": {}})["config"].get("grpo", {}).get("max_steps", -1))
    return 0 < before < int(config.grpo.get("max_steps", -1))
