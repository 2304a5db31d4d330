"""Architectures of published models, so that a run can be planned without a download.

Numbers of the models' public configurations; the parameter counts that follow from them are
checked against the published ones (tests/training/test_memory.py).
"""

from __future__ import annotations

from typing import Any

_ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
_VISION_2 = {
    "depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "patch_size": 14,
    "spatial_merge_size": 2, "temporal_patch_size": 2,
}  # fmt: skip
_VISION_2_5 = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
    "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip


def _text(hidden: int, mlp: int, layers: int, heads: int, kv: int, vocabulary: int) -> Any:
    return {
        "hidden_size": hidden, "intermediate_size": mlp, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": vocabulary,
        "max_position_embeddings": 32768, "rope_parameters": _ROPE,
    }  # fmt: skip


#: Name on the hub -> keyword arguments of `transformers.AutoConfig.for_model`.
KNOWN: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2-VL-2B-Instruct": {
        "model_type": "qwen2_vl",
        "text_config": _text(1536, 8960, 28, 12, 2, 151936) | {"tie_word_embeddings": True},
        "vision_config": _VISION_2 | {"hidden_size": 1536},
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2-VL-7B-Instruct": {
        "model_type": "qwen2_vl",
        "text_config": _text(3584, 18944, 28, 28, 4, 152064),
        "vision_config": _VISION_2 | {"hidden_size": 3584},
        "tie_word_embeddings": False,
    },
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "model_type": "qwen2_5_vl",
        "text_config": _text(2048, 11008, 36, 16, 2, 151936) | {"tie_word_embeddings": True},
        "vision_config": _VISION_2_5 | {"out_hidden_size": 2048},
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "model_type": "qwen2_5_vl",
        "text_config": _text(3584, 18944, 28, 28, 4, 152064),
        "vision_config": _VISION_2_5 | {"out_hidden_size": 3584},
        "tie_word_embeddings": False,
    },
}
