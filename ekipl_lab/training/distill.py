"""The teacher of an on-policy distillation (`groups.distill`): its probabilities of a batch."""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.grpo_trainer import add_fused_lm_head

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.distill import Distillation
from ekipl_lab.policies.adapters import base_of, is_adapter_folder
from ekipl_lab.policies.load import check_checkpoint, is_local, load_policy, load_processor
from ekipl_lab.policies.tokenizer import tokenizer_fingerprint
from ekipl_lab.training.paths import policy_path

#: What TRL's rows hand to a forward pass besides tokens and mask.
_KEYS = ("pixel_values", "image_grid_thw", "num_images", "num_tiles", "pixel_attention_mask",
         "image_sizes", "token_type_ids", "mm_token_type_ids")  # fmt: skip


def check_distilled(own: Distillation, tokenizer_id: str) -> None:
    """ConfigError for a teacher of a distillation that cannot be loaded, or reads other tokens.

    A model of the hub is not looked at: it would be downloaded.
    """
    if own.path is None or not is_local(path := policy_path(own.path)):
        return
    check_checkpoint(path)
    source = base_of(path) if is_adapter_folder(path) else path
    _check_tokens(own, tokenizer_fingerprint(load_processor(source).tokenizer), tokenizer_id)


def _check_tokens(own: Distillation, teacher: str, policy: str) -> None:
    if teacher != policy:
        raise ConfigError(
            f"ekipl.distill.path {own.path!r} has another tokenizer than the policy; its "
            "probabilities are of other tokens."
        )


class Distiller:
    """Loads the teacher; ConfigError where its tokenizer is not the policy's."""

    def __init__(
        self, own: Distillation, tokenizer_id: str, device: Any, temperature: float
    ) -> None:
        teacher = load_policy(policy_path(own.path or ""))
        _check_tokens(own, teacher.tokenizer_id, tokenizer_id)
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
