"""Equal prompts of a batch, found and read once: the rows of a group share prompt and images.

    prompts = PromptRows(input_ids, attention_mask, num_images, visual)
    distinct, places = prompts.places(rows)
    cache, shifts = read_prompts(model, prompts, distinct)  # keys and values of each one
    expanded(cache, torch.tensor(places))                   # ... of each of the rows

Vision tower and language model read each distinct prompt once; its keys and values are repeated for
the rows that continue it, and autograd sums what they send back. What comes out is the same up to
the order of floating-point sums. Two prompts are equal if their tokens and their pixels are, to the
bit; nothing is assumed of the order of rows.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ekipl_lab.policies.shared_vision import FAMILIES

#: What a processor gives for each row, for each token, and for each image.
BY_ROW, BY_TOKEN = ("pixel_attention_mask",), ("token_type_ids", "mm_token_type_ids")
BY_IMAGE = ("image_grid_thw", "image_sizes")


def can_share(model: Any) -> bool:
    """Whether equal prompts of ``model`` (without a wrapper) may be read once: a known family, no
    dropout (each row would draw its own). Not under activation checkpointing, which keeps no keys.
    """
    if getattr(model.config, "model_type", None) not in FAMILIES:
        return False
    text = model.config.get_text_config()
    drops = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.modules())
    drops = drops or float(getattr(text, "attention_dropout", None) or 0.0) > 0
    return not drops


class PromptRows:
    """B left-padded prompts (B, P) and what the processor made of their images.

    ``num_images`` counts those of each row, None for prompts without. ``visual`` maps TRL's and the
    processors' names (`NAMES`) to tensors; token types may be longer than the prompt.
    """

    NAMES = frozenset({"pixel_values", *BY_ROW, *BY_TOKEN, *BY_IMAGE})

    def __init__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        num_images: Sequence[int] | None,
        visual: dict[str, Tensor],
    ) -> None:
        self.ids, self.mask = input_ids, attention_mask
        self._visual = visual
        self._images = _ends(num_images or [0] * len(input_ids))
        grid, pixels = visual.get("image_grid_thw"), visual.get("pixel_values")
        if grid is not None:
            self._pixels = [_ends(grid.prod(-1).tolist())[i] for i in self._images]
        elif pixels is not None and pixels.dim() == 4:
            self._pixels = self._images
        else:
            self._pixels = list(range(len(input_ids) + 1))
        #: For each row the first row with the same prompt.
        self.first = self._firsts()

    def has_images(self, row: int) -> bool:
        """Whether that row shows any."""
        return self._images[row] < self._images[row + 1]

    def places(self, rows: Sequence[int]) -> tuple[list[int], list[int]]:
        """The distinct prompts of ``rows`` by their first row, and each row's place among them."""
        distinct = sorted({self.first[row] for row in rows})
        return distinct, [distinct.index(self.first[row]) for row in rows]

    def inputs(self, rows: Sequence[int], length: int | None = None) -> dict[str, Tensor]:
        """Model inputs of these rows, in this order: their first ``length`` tokens, all images."""
        index = torch.tensor(rows, device=self.ids.device)
        found = {"input_ids": self.ids[index, :length], "attention_mask": self.mask[index, :length]}
        cut = self.ids.shape[1] if length is None else length
        for name in BY_TOKEN:
            if name in self._visual:
                found[name] = self._visual[name][index, :cut]
        if any(self.has_images(row) for row in rows):
            parts = [self._shown(row) for row in rows if self.has_images(row)]
            found |= {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return found

    def _shown(self, row: int) -> dict[str, Tensor]:
        """What the images of a row became."""
        images = slice(self._images[row], self._images[row + 1])
        pixels = slice(self._pixels[row], self._pixels[row + 1])
        cuts = {"pixel_values": pixels, **dict.fromkeys(BY_IMAGE, images)}
        cuts |= dict.fromkeys(BY_ROW, slice(row, row + 1))
        return {name: self._visual[name][cut] for name, cut in cuts.items() if name in self._visual}

    def _firsts(self) -> list[int]:
        known: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        first = []
        for row, words in enumerate(zip(self.ids.tolist(), self.mask.tolist(), strict=True)):
            seen = known.setdefault(tuple(map(tuple, words)), [])
            equal = next((other for other in seen if self._same_images(row, other)), row)
            if equal == row:
                seen.append(row)
            first.append(equal)
        return first

    def _same_images(self, row: int, other: int) -> bool:
        ours, theirs = self._shown(row), self._shown(other)
        return all(torch.equal(ours[name], theirs[name]) for name in ours)


def read_prompts(model: Any, prompts: PromptRows, rows: Sequence[int]) -> tuple[Any, Tensor]:
    """All but the last token of these prompts through ``model``: their keys and values (a cache of
    transformers), and by how much the positions (len(rows), 1) of what follows are shifted."""
    cache = DynamicCache(config=model.config)
    inputs = prompts.inputs(rows, prompts.ids.shape[1] - 1)
    model.base_model(**inputs, past_key_values=cache, use_cache=True)
    deltas = getattr(model.base_model, "rope_deltas", None)
    if "pixel_values" in inputs and deltas is not None:
        return cache, deltas.to(prompts.ids.device)
    # Without images positions count padding, too.
    return cache, (prompts.mask[rows] == 0).sum(-1, keepdim=True)


def expanded(cache: Any, index: Tensor) -> Any:
    """A cache of the rows ``index`` of ``cache``, which stays as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in chosen.layers:
        layer.keys = layer.keys.index_select(0, index)
        layer.values = layer.values.index_select(0, index)
    return chosen


def _ends(counts: Sequence[int]) -> list[int]:
    """0 and the running sums of ``counts``."""
    ends = [0]
    for count in counts:
        ends.append(ends[-1] + count)
    return ends
