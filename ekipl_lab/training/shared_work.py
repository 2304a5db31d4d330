"""Where a trainer may compute once what rows have in common, and how TRL's calls become that.

One process, no adapter, a known family (`policies.shared_prompts.FAMILIES`), and no vLLM. Anywhere
else, and without ``share_work``, TRL's own passes are taken, bit for bit: so too with activation
checkpointing, dropout, and mixtures of experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from accelerate.utils import DistributedType
from torch import Tensor

from ekipl_lab.policies.rollout import shared_rollout
from ekipl_lab.policies.shared_prompts import PromptRows, can_share
from ekipl_lab.training.loss.shared_forward import shared_log_probs


class SharedWork:
    """Stands beside one trainer of TRL's; ``on`` says whether anything is shared."""

    def __init__(self, trainer: Any, wanted: bool) -> None:
        self._trainer = trainer
        self.on = (
            wanted
            and trainer.accelerator.distributed_type == DistributedType.NO
            and not trainer.use_vllm
            and not trainer.use_transformers_continuous_batching
            and not trainer.aux_loss_enabled
            and not trainer.tools
            and can_share(trainer.accelerator.unwrap_model(trainer.model))
        )

    def rollout(self, images: Sequence[Any] | None) -> AbstractContextManager[None]:
        """The block in which TRL calls ``generate``; ``images`` of each row."""
        if not self.on:
            return nullcontext()
        counts = None if images is None else [len(shown or ()) for shown in images]
        return shared_rollout(self._trainer.accelerator.unwrap_model(self._trainer.model), counts)

    def log_probs(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        *,
        rows: dict[str, Any] | None,
        num_images: Sequence[int] | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **visual: Any,
    ) -> tuple[Tensor, Tensor | None, None] | None:
        """What TRL's `_get_per_token_logps_and_entropies` gives; None where it is to be asked.

        ``rows`` is the batch of the loss, None outside of it.
        """
        given = {name: value for name, value in visual.items() if value is not None}
        too_short = input_ids.shape[1] < logits_to_keep + 2  # no prompt but its last token
        if not self.on or too_short or not given.keys() <= PromptRows.NAMES:
            return None
        split = input_ids.shape[1] - logits_to_keep
        prompts = PromptRows(input_ids[:, :split], attention_mask[:, :split], num_images, given)
        with self._trainer.accelerator.autocast():
            logps, entropies = shared_log_probs(
                self._trainer.accelerator.unwrap_model(model), prompts,
                input_ids[:, split:], attention_mask[:, split:],
                learning=None if rows is None else self._learning(rows),
                max_rows=batch_size or len(input_ids),
            )  # fmt: skip
        return logps, entropies if compute_entropy else None, None

    def _learning(self, rows: dict[str, Any]) -> Tensor | None:
        """Which rows have a gradient (B,); None: all, where more than advantages gives one."""
        trainer = self._trainer
        if trainer.beta != 0.0 or trainer._entropy_bonus_enabled or "distill_logps" in rows:
            return None
        learning: Tensor = rows["advantages"].view(len(rows["advantages"]), -1).ne(0).any(-1)
        return learning | (rows["imitate"] != 0) if "imitate" in rows else learning
