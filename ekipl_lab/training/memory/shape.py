"""Sizes of a model from its configuration alone: built on torch's meta device, no weight is made.

shape_of("Qwen/Qwen2.5-VL-3B-Instruct").parameters        # 3_754_622_976
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from ekipl_lab.errors import ConfigError, missing_path
from ekipl_lab.policies.adapters import language_linears, parameters_of, vision_parameters
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.load import is_local
from ekipl_lab.training.memory.known_models import KNOWN


@dataclass(frozen=True, slots=True)
class Tower:
    """A stack of transformer layers: its depth, widths, and the norms of a layer.

    ``norms`` over the hidden width; ``head_norms`` of queries and keys (0 or 2).
    """

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    norms: int = 2
    head_norms: int = 0


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Counts of parameters and the widths that activations follow from.

    ``vision_parameters`` with those of the projector.
    ``language_linears``: (last name, inputs, outputs) of the language model's linear layers.
    ``patch_values``: float values of one image patch; ``tokens_per_image`` where it is fixed
    (None: it follows from the pixels), ``merge``: patches per side that make one token.
    """

    parameters: int
    vision_parameters: int
    head_parameters: int
    tied: bool
    vocabulary: int
    language: Tower
    vision: Tower
    language_linears: tuple[tuple[str, int, int], ...]
    patch: int
    patch_values: int
    merge: int
    tokens_per_image: int | None
    patches_per_image: int | None
    projector_parameters: int = 0

    def image(self, side: int) -> tuple[int, int]:
        """Tokens and patches of a square image with ``side`` pixels."""
        if self.tokens_per_image is not None and self.patches_per_image is not None:
            return self.tokens_per_image, self.patches_per_image
        cells = max(1, round(side / (self.patch * self.merge)))
        return cells**2, (cells * self.merge) ** 2

    def adapted(self, targets: Sequence[str] = ()) -> list[tuple[int, int]]:
        """(inputs, outputs) of the layers that get an adapter; no targets: all."""
        return [(i, o) for name, i, o in self.language_linears if not targets or name in targets]

    def linear_parameters(self) -> int:
        """Weights of the linear layers of the language model, biases apart."""
        return sum(inputs * outputs for _, inputs, outputs in self.language_linears)


def shape_of(source: str | Path, *, build: bool = False) -> ModelShape:
    """The shape of a known model, a checkpoint folder, a hub id in the cache, or a tiny ``build``.

    Raises ConfigError if no configuration is found.
    """
    if build:
        model, _ = build_tiny_policy(str(source), 0)
        return measure(model)
    return measure(meta_model(model_config(source)))


def model_config(source: str | Path) -> Any:
    """The configuration of a known model or of a checkpoint."""
    if str(source) in KNOWN:
        return AutoConfig.for_model(**KNOWN[str(source)])
    if is_local(source) and not Path(source).expanduser().exists():
        raise missing_path("Checkpoint", source, "give the folder of a checkpoint.")
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"There is no configuration of {str(source)!r} here: its memory cannot be predicted; "
            f"download it first, or choose one of {', '.join(KNOWN)}."
        ) from error


def meta_model(config: Any) -> Any:
    """The model of a configuration without weights."""
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config, trust_remote_code=False)


def measure(model: Any) -> ModelShape:
    """The shape of a model in memory or on the meta device."""
    config = model.config
    text, vision = config.get_text_config(), config.vision_config
    modules = dict(model.named_modules())
    names = language_linears(model)
    head = model.get_output_embeddings().weight
    per_image, patches = _fixed_image(config, vision)
    temporal = getattr(vision, "temporal_patch_size", 1)
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()),
        vision_parameters=sum(p.numel() for _, p in vision_parameters(model)),
        head_parameters=head.numel(),
        tied=head is model.get_input_embeddings().weight,
        vocabulary=text.vocab_size,
        language=_with_norms(_tower(text), model.get_decoder()),
        vision=_tower(vision),
        language_linears=tuple(
            (name.rsplit(".", 1)[-1], modules[name].in_features, modules[name].out_features)
            for name in names
        ),
        patch=vision.patch_size,
        patch_values=3 * temporal * vision.patch_size**2,
        merge=getattr(vision, "spatial_merge_size", 1),
        tokens_per_image=per_image,
        patches_per_image=patches,
        projector_parameters=sum(p.numel() for p in parameters_of(model, "projector")),
    )


def _tower(config: Any) -> Tower:
    layers = _first(config, "num_hidden_layers", "depth")
    hidden = _first(config, "embed_dim", "hidden_size")
    heads = _first(config, "num_attention_heads", "num_heads")
    mlp = getattr(config, "intermediate_size", None) or hidden * getattr(config, "mlp_ratio", 4)
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return Tower(layers, hidden, int(mlp), heads, kv_heads, head_dim)


def _with_norms(tower: Tower, decoder: Any) -> Tower:
    """The tower with the norms counted in the first of its layers."""
    norms = [m for m in decoder.layers[0].modules() if "Norm" in type(m).__name__]
    heads = sum(norm.weight.numel() == tower.head_dim != tower.hidden for norm in norms)
    return replace(tower, norms=len(norms) - heads, head_norms=heads)


def _first(config: Any, *names: str) -> int:
    for name in names:
        if isinstance(value := getattr(config, name, None), int):
            return value
    raise ConfigError(f"A {config.model_type} configuration has none of {', '.join(names)}.")


def _fixed_image(config: Any, vision: Any) -> tuple[int | None, int | None]:
    """Tokens and patches of one image where the model resizes every image to one size."""
    side = getattr(vision, "image_size", None)
    if not isinstance(side, int) or hasattr(vision, "spatial_merge_size"):
        return None, None
    patches = (side // vision.patch_size) ** 2
    tokens = getattr(config, "mm_tokens_per_image", None)
    if tokens is None and (factor := getattr(config, "scale_factor", None)):
        tokens = math.ceil(patches / factor**2)
    return int(tokens or patches), patches
