"""Sharded weights measured by all ranks at once, each on its own items.

With FSDP or ZeRO-3 a forward pass is a collective: every rank brings its shards, in the same
order. Ranks that measure different items need other numbers of passes, some with images and some
without. So before each pass they agree on its kind, and a rank that wants none of that kind makes
one of no consequence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import distributed

from ekipl_lab.errors import EKIPLError
from ekipl_lab.policies.load import Policy
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.types import Sample

#: What a rank wants of the next pass; the largest wish is granted to all.
NOTHING, TEXT, IMAGES, FAILED = 0, 1, 2, 3


class OtherFailed(EKIPLError):
    """Raised where another rank has left with an error of its own."""


class Lockstep:
    """A sharded model as `generate` calls it. After the last pass of this rank, `leave`."""

    def __init__(self, policy: Policy) -> None:
        self._inner, self._idle = policy.model, _idle_inputs(policy)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, **inputs: Any) -> Any:
        """The model's pass over ``inputs``, once all ranks make one of this kind."""
        wish = IMAGES if "pixel_values" in inputs else TEXT
        self._pass_until(wish)
        return self._inner(**inputs)

    def leave(self, *, failed: bool = False) -> None:
        """Help the others until all have left; where this rank ``failed``, they raise as well."""
        if failed:
            self._agree(FAILED)
        else:
            self._pass_until(NOTHING)

    def _pass_until(self, wish: int) -> None:
        while (agreed := self._agree(wish)) != wish:
            base = getattr(self._inner, "model", self._inner)
            shift = getattr(base, "rope_deltas", None)  # Qwen's, of the batch that is being made
            with torch.no_grad():
                self._inner(**self._idle[agreed], use_cache=False)
            if hasattr(base, "rope_deltas"):
                base.rope_deltas = shift

    def _agree(self, wish: int) -> int:
        wishes = torch.tensor(wish, device=self._inner.device)
        distributed.all_reduce(wishes, op=distributed.ReduceOp.MAX)
        agreed = int(wishes)
        if agreed == FAILED != wish:
            raise OtherFailed("Another rank failed while the policy was measured; see its error.")
        return agreed


def in_lockstep(model: Lockstep, function: Callable[[], Any]) -> Any:
    """What ``function`` gives, which calls ``model``; returns once all ranks are done."""
    try:
        found = function()
    except OtherFailed:
        raise  # all have left
    except BaseException:
        model.leave(failed=True)
        raise
    model.leave()
    return found


def _idle_inputs(policy: Policy) -> dict[int, Any]:
    """Inputs of passes of no consequence, by kind."""
    sample = Sample(
        id="idle",
        task="idle",
        split="idle",
        images=(Image.new("RGB", (112, 112)),),
        question="?",
        answer="",
        answer_type="string",
    )
    images = encode_prompts(policy, [sample])
    text = {name: images[name][:, -1:] for name in ("input_ids", "attention_mask")}
    return {TEXT: text, IMAGES: dict(images)}
