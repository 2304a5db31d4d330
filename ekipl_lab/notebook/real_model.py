"""A real model planned on any machine: memory by part, and its architecture at width 32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.training.memory.components import Prediction


@dataclass(frozen=True, slots=True)
class Memory:
    """What one process of a run will need; ``available`` bytes are None where nothing says."""

    prediction: Prediction
    available: int | None

    @property
    def parts(self) -> dict[str, float]:
        """Part -> GiB at the moment that holds most; together they are the total."""
        from ekipl_lab.training.memory.components import GIB

        found = self.prediction
        moments = {"backward": found.backward, "generation": found.generation}
        worst = max(moments, key=lambda name: sum(moments[name].values()))
        named = {f"{worst}: {part}": size for part, size in moments[worst].items()}
        everything = {**found.always, **named, "context and fragmentation": found.allowance}
        return {part: size / GIB for part, size in everything.items() if size}


def memory(config: RunConfig) -> Memory:
    """The predicted memory of a run, as `ekipl train --dry-run` gives it; nothing is loaded."""
    from ekipl_lab.training.memory.components import predict
    from ekipl_lab.training.memory.estimate import available_bytes, run_shape, workload

    return Memory(predict(run_shape(config), workload(config)), available_bytes(config))


def memory_table(runs: Mapping[str, Memory]) -> pd.DataFrame:
    """GiB of every part, a column for each run."""
    import pandas as pd

    from ekipl_lab.training.memory.components import GIB

    table = pd.DataFrame({name: one.parts for name, one in runs.items()})
    table.loc["most at once"] = [one.prediction.total / GIB for one in runs.values()]
    table.loc["there is"] = [
        None if one.available is None else one.available / GIB for one in runs.values()
    ]
    return table.astype(float).round(2).fillna("")


def plot_memory(runs: Mapping[str, Memory], title: str = "Memory of one process") -> Any:
    """A bar for each run, its parts one behind the other; a mark shows what the card has."""
    from ekipl_lab.plots.bars import stacks
    from ekipl_lab.training.memory.components import GIB

    bars = {name: {p: v for p, v in one.parts.items() if v >= 0.05} for name, one in runs.items()}
    limits = {n: one.available / GIB for n, one in runs.items() if one.available is not None}
    return stacks(bars, title=title, x_title="GiB", limits=limits)


def dry_run(config: RunConfig) -> str:
    """What `ekipl train --dry-run` prints, below the settings: plan, data, memory, costs."""
    from ekipl_lab.training.dry_run import plan_texts

    text = "\n".join(plan_texts(config))
    return text[text.index("\nsteps ") + 1 :].rstrip()


def refusal(config: RunConfig) -> str:
    """Why a config cannot be run where it is planned for; empty if it can."""
    from ekipl_lab.errors import EKIPLError

    try:
        dry_run(config)
    except EKIPLError as error:
        return str(error).splitlines()[0]
    return ""


def save_small_qwen(folder: str | Path, seed: int = 0, dtype: str = "float32") -> Path:
    """Qwen2.5-VL with every module that it has, 32 wide, fresh weights and a small vocabulary.

    For trying a config of the real one on a CPU: it learns nothing, and needs no download.
    """
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from ekipl_lab.notebook.training import quiet
    from ekipl_lab.policies.save import save_policy

    quiet()
    processor = _processor()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = Qwen2_5_VLConfig(**_small_config(processor.tokenizer))
        model = Qwen2_5_VLForConditionalGeneration(config)
    return save_policy(model.eval(), processor, folder, dtype=dtype)


def _processor() -> Any:
    """The family's image processor (2 x 2 patches make one token) and the project's tokenizer."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from ekipl_lab.policies.processor import ImageOnlyQwen2VLProcessor
    from ekipl_lab.policies.tokenizer import build_tokenizer

    half = [0.5, 0.5, 0.5]
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56**2, "longest_edge": 84**2},
        patch_size=14, temporal_patch_size=2, merge_size=2, image_mean=half, image_std=half,
    )  # fmt: skip
    return ImageOnlyQwen2VLProcessor(images, build_tokenizer())


def _small_config(tokens: Any) -> dict[str, Any]:
    ids = {"eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id}
    return {
        "text_config": {
            "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 16, "max_position_embeddings": 1024, "initializer_range": 0.05,
            "tie_word_embeddings": True, "bos_token_id": None, **ids,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3],
            },
        },
        "vision_config": {
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
        },
        "image_token_id": tokens.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokens.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokens.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokens.convert_tokens_to_ids("<|vision_end|>"),
        "bos_token_id": None, "tie_word_embeddings": True, **ids,
    }  # fmt: skip
