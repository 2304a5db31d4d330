"""Where a trainer may compute once what rows have in common, and how TRL's calls become that.

With ``share_work``, a known family (`policies.shared_vision.FAMILIES`) without dropout:

- prompts and images once (`policies.shared_prompts`), in one process and under DDP, with LoRA too;
- images alone (`policies.shared_vision`) where keys cannot be kept or are not ours: in the loss
  under activation checkpointing, with FSDP, DeepSpeed or completions by vLLM.

Anywhere else, and without ``share_work``, TRL's own passes are taken, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from accelerate.utils import DistributedType
from peft import PeftModel
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ekipl_lab.policies.rollout import shared_rollout
from ekipl_lab.policies.shared_prompts import PromptRows, can_share
from ekipl_lab.policies.shared_vision import can_share_vision, shared_vision
from ekipl_lab.training.loss.shared_forward import shared_log_probs

#: Every rank holds whole weights and calls them as it likes.
WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)

T = TypeVar("T")


class SharedWork:
    """Stands beside one trainer of TRL's; ``on`` says whether anything is shared."""

    def __init__(self, trainer: Any, wanted: bool) -> None:
        self._trainer = trainer
        inner = self._inner(trainer.model)
        self.on = (
            wanted
            and not trainer.use_transformers_continuous_batching
            and not trainer.tools
            and can_share_vision(inner)
        )
        self._prompts = (
            trainer.accelerator.distributed_type in WHOLE
            and not trainer.use_vllm
            and not trainer.aux_loss_enabled
            and can_share(inner)
        )

    def prompts(self) -> bool:
        """Whether whole prompts are shared in a pass now; under checkpointing, which keeps no keys,
        they are not, and it comes and goes."""
        inner = self._inner(self._trainer.model)
        return self.on and self._prompts and not inner.is_activation_checkpointing

    def lack(self) -> str:
        """What is not shared in the loss, in a sentence; empty where whole prompts are."""
        if not self.on:
            return "training.share_work shares nothing here: every row is computed by itself."
        if self._prompts and not self._trainer.args.activation_checkpointing:
            return ""
        return (
            "training.share_work shares images alone here: in the loss prompts are read row by row "
            "(activation checkpointing, sharded weights, vLLM or dropout)."
        )

    def _inner(self, model: Any) -> Any:
        """The model of transformers within DDP and PEFT; an adapter's layers lie in it."""
        model = self._trainer.accelerator.unwrap_model(model)
        return model.get_base_model() if isinstance(model, PeftModel) else model

    def images_once(self, model: Any) -> AbstractContextManager[None]:
        """The block in which TRL calls ``model`` by itself."""
        return shared_vision(self._inner(model)) if self.on else nullcontext()

    def rollout(self, images: Sequence[Any] | None) -> AbstractContextManager[None]:
        """The block in which TRL generates, without checkpointing; ``images`` of each row."""
        if not (self.on and self._prompts):
            return self.images_once(self._trainer.model)
        counts = None if images is None else [len(shown or ()) for shown in images]
        return shared_rollout(self._inner(self._trainer.model), counts)

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
        if not self.prompts() or too_short or not given.keys() <= PromptRows.NAMES:
            return None
        split = input_ids.shape[1] - logits_to_keep
        prompts = PromptRows(input_ids[:, :split], attention_mask[:, :split], num_images, given)
        learning = None if rows is None else self._learning(rows)

        def passes() -> tuple[Tensor, Tensor | None]:
            return shared_log_probs(
                self._inner(model), prompts, input_ids[:, split:], attention_mask[:, split:],
                learning=learning, max_rows=batch_size or len(input_ids),
            )  # fmt: skip

        with self._trainer.accelerator.autocast():
            logps, entropies = as_forward(model, passes)
        return logps, entropies if compute_entropy else None, None

    def _learning(self, rows: dict[str, Any]) -> Tensor | None:
        """Which rows have a gradient (B,); None: all, where more than advantages gives one."""
        trainer = self._trainer
        if trainer.beta != 0.0 or trainer._entropy_bonus_enabled or "distill_logps" in rows:
            return None
        learning: Tensor = rows["advantages"].view(len(rows["advantages"]), -1).ne(0).any(-1)
        return learning | (rows["imitate"] != 0) if "imitate" in rows else learning


def as_forward(model: Any, function: Callable[[], T]) -> T:
    """What ``function`` gives, which calls the module in ``model``; DDP takes it for its one
    forward pass, and so averages the gradients."""
    if not isinstance(model, DistributedDataParallel):
        return function()
    inner = model.module
    plain = vars(inner).get("forward")

    def restore() -> None:
        if plain is None:
            vars(inner).pop("forward", None)
        else:
            inner.forward = plain

    def forward(*_: Any) -> T:
        restore()
        return function()

    inner.forward = forward
    try:
        found: T = model(None)
        return found
    finally:
        restore()
