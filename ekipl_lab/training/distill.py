"""The teacher of an on-policy distillation (`groups.distill`): its probabilities of a batch."""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.grpo_trainer import add_fused_lm_head

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.distill import Distillation
from ekipl_lab.policies.load import load_policy
from ekipl_lab.training.paths import policy_path

#: What TRL's rows hand to a forward pass besides tokens and mask.
_KEYS = ("pixel_values", "image_grid_thw", "num_images", "num_tiles", "pixel_attention_mask",
         "image_sizes", "token_type_ids", "mm_token_type_ids")  # fmt: skip


class Distiller:
    """Loads the teacher; ConfigError where its tokenizer is not the policy's."""

    def __init__(
        self, own: Distillation, tokenizer_id: str, device: Any, temperature: float
    ) -> None:
        teacher = load_policy(policy_path(own.path or ""))
        if teacher.tokenizer_id != tokenizer_id:
            raise ConfigError(
                f"ekipl.distill.path {own.path!r} has another tokenizer than the policy; its "
                "probabilities are of other tokens."
            )
        self.model = teacher.model.to(device).eval().requires_grad_(False)
        add_fused_lm_head(self.model, temperature=temperature)  # as TRL does with a reference

    def logps(self, trainer: Any, output: dict[str, Any]) -> torch.Tensor:
        """log q (B, T) of the completions in ``output``, TRL's of an `EKIPLTrainer`."""
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        given = {key: output[key] for key in _KEYS if key in output}
        with torch.no_grad():
            found = trainer.plain_logps(
                self.model,
                ids,
                mask,
                output["completion_ids"].shape[1],
                trainer.args.per_device_train_batch_size,
                **given,
            )
        logps: torch.Tensor = found[0]
        return logps
