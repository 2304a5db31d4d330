"""Whether the settings of a run go together, before anything is loaded; with TRL's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.training.config.combinations import RATIO_LOSSES, check_combinations
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import BatchSizes, batch_sizes
from ekipl_lab.training.config.waits import longest_wait

if TYPE_CHECKING:
    from trl import GRPOConfig

    from ekipl_lab.groups.collect import Scorer

#: All that TRL 1.16 knows; it looks at them only once it trains.
CHOICES = {
    "loss_type": (*RATIO_LOSSES, "luspo", "cispo", "sapo", "vespo"),
    "importance_sampling_level": ("token", "sequence"),
}


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """A config whose settings go together: working folder, batch sizes, scorer, TRL's arguments."""

    config: RunConfig
    folder: Path
    sizes: BatchSizes
    scorer: Scorer
    args: GRPOConfig


def check_run(config: RunConfig, folder: str | Path) -> CheckedRun:
    """Check a run that will work in ``folder``. Raises ConfigError for what does not go together.

    What depends on how many samples there are is `plan.plan_run`'s to check.
    """
    from ekipl_lab.libraries import check_torchvision

    check_torchvision()
    import torch
    from trl import GRPOConfig

    from ekipl_lab.rewards import get_scorer

    sizes = batch_sizes(config)
    on_gpu = torch.cuda.is_available()
    settings = {
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "ddp_timeout": longest_wait(config, sizes),
        **config.grpo_settings,
    }
    for key, known in CHOICES.items():
        if key in settings and settings[key] not in known:
            raise unknown_name(f"grpo.{key}", settings[key], known)
    check_combinations(config, settings)
    scorer = get_scorer(config.reward.scorer, config.reward.weights)
    scale = config.ekipl.scale_rewards
    try:
        args = GRPOConfig(
            **settings,
            output_dir=str(Path(folder) / "checkpoints"),
            seed=config.seed,
            scale_rewards=scale if scale in ("group", "none") else "group",
            report_to="none",
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"grpo: {str(error).splitlines()[0]}") from error
    return CheckedRun(config, Path(folder), sizes, scorer, args)
