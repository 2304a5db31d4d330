"""Gradient norm of each action source, every n steps: whose rows move the policy, and how far.

The loss is differentiated to the log-probabilities once, and from there to the parameters once per
source that has rows: no forward pass more. What does not pass through the log-probabilities (an
entropy bonus) is left out; the KL term counts with the rows it is taken on. Over all micro-batches
of the step and all processes; not under FSDP or DeepSpeed, whose parameters are in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import DistributedType

#: Where every process holds whole parameters.
WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


class SourceGradients:
    """``every`` 0 measures nothing. Call `add` with every micro-batch, on every rank."""

    def __init__(self, every: int, sources: Sequence[str], accelerator: Any) -> None:
        self._every = every if accelerator.distributed_type in WHOLE else 0
        self._sources, self._accelerator = sources, accelerator
        self._sums: list[torch.Tensor] | None = None

    def due(self, step: int) -> bool:
        """Whether the update after ``step`` steps done is measured."""
        return self._every > 0 and (step + 1) % self._every == 0

    def add(
        self, loss: torch.Tensor, logps: torch.Tensor, source: torch.Tensor, model: Any
    ) -> dict[str, float]:
        """Take a micro-batch in; ``gradient/<source>/norm`` once the step's last one is there.

        ``logps`` (B, T) are those that ``loss`` was computed from; ``source`` (B,) numbers the
        rows' sources.
        """
        parameters = [p for p in model.parameters() if p.requires_grad]
        (slopes,) = torch.autograd.grad(loss, logps, retain_graph=True)
        found = [
            _gradient(logps, slopes * (source == index).unsqueeze(1), parameters)
            for index in range(len(self._sources))
        ]
        if self._sums is not None:
            found = [before + now for before, now in zip(self._sums, found, strict=True)]
        self._sums = found
        if not self._accelerator.sync_gradients:
            return {}
        self._sums = None
        norms = [self._accelerator.reduce(part, reduction="mean").norm().item() for part in found]
        return {
            f"gradient/{name}/norm": norm for name, norm in zip(self._sources, norms, strict=True)
        }


def _gradient(
    logps: torch.Tensor, slopes: torch.Tensor, parameters: list[torch.Tensor]
) -> torch.Tensor:
    """All parameters' gradients in a row, in float32."""
    if not bool(slopes.any()):
        return torch.zeros(sum(p.numel() for p in parameters), device=logps.device)
    parts = torch.autograd.grad(
        logps, parameters, grad_outputs=slopes, retain_graph=True, allow_unused=True
    )
    pairs = zip(parts, parameters, strict=True)
    flat = [(torch.zeros_like(p) if part is None else part).flatten().float() for part, p in pairs]
    return torch.cat(flat)
