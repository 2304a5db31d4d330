"""Loading policies, with every wrong use refused before it costs anything."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

import ekipl_lab.policies.processor  # noqa: F401  (registers the image-only processor)
from ekipl_lab.errors import ConfigError, missing_path, unknown_name
from ekipl_lab.files import check_sums
from ekipl_lab.libraries import INSTALL_IT, reason
from ekipl_lab.parsing import THINK_CLOSE, THINK_OPEN
from ekipl_lab.policies.adapters import (
    adapter_weights,
    apply_adapter,
    base_of,
    is_adapter_folder,
    quantization_config,
)
from ekipl_lab.policies.sharding import empty_model, gets_weights_from_rank_0, sharded_loading
from ekipl_lab.policies.tokenizer import tokenizer_fingerprint

_QUESTION = "What is it?"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Policy:
    """A vision-language model with its processor; ``tokenizer_id`` is a hash of the vocabulary.

    ``opens`` is what its chat template has already written of the answer at the end of a prompt:
    ``<think>`` for Qwen3-VL-Thinking, nothing for most. A completion's text begins with it, its
    tokens do not.
    """

    model: Any
    processor: Any
    id: str
    tokenizer_id: str
    opens: str = ""


def as_policy(model: Any, processor: Any, name: str = "policy") -> Policy:
    """Wrap a model in memory (for example the one in training). Checks the image processor only."""
    _require_image_processor(processor, name)
    tokenizer_id = tokenizer_fingerprint(processor.tokenizer)
    return Policy(model, processor, name, tokenizer_id, opens=_opening(_short_prompt(processor)))


def load_policy(
    path: str | Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    base: str | Path | None = None,
    quantize: str = "none",
    attention: str | None = None,
) -> Policy:
    """Load a checkpoint folder, an adapter folder, or a model of the hub, in evaluation mode.

    An adapter is merged into its base, which its folder names (or ``base``). ``quantize="4bit"``
    loads the language model in 4 bits (QLoRA) on the process's GPU; ``attention`` is transformers'
    ``attn_implementation``. Remote code is never run.

    Raises ConfigError if there is no such checkpoint, if it is a text-only model, if it has no
    image processor, or if changing the image does not change the logits (a blind model); DataError
    if a file is not as `save_policy` wrote it (`files.check_sums`).
    """
    check_placement(dtype, device)
    adapter = Path(path).expanduser() if is_adapter_folder(path) else None
    if base is not None and adapter is None:
        raise ConfigError(f"{str(path)!r} is not an adapter, so it has no base.")
    source = existing_checkpoint(path if adapter is None else base_of(adapter, base))
    if adapter is not None:
        check_sums(adapter_weights(adapter).parent)
    _vision_language(source)
    processor = load_processor(source)
    model = _load_model(source, dtype, device, quantize, attention)
    if adapter is not None:
        model = apply_adapter(model, adapter)
    model.eval()
    if not sharded_loading():  # weights that are elsewhere cannot be asked
        require_sight(model, processor, str(path))
    return as_policy(model, processor, Path(path).name)


def default_device() -> str:
    """Where a model is put unless somebody says: on the GPU if there is one, as in training."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_placement(dtype: str, device: str) -> None:
    """ConfigError for an unknown dtype, or a device that this machine does not have."""
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"Device {device!r} cannot be used ({str(error).splitlines()[0]}); choose cpu or cuda."
        ) from error


def require_sight(model: Any, processor: Any, name: str) -> None:
    """Raise ConfigError unless two unlike images give unlike, finite logits for one question."""
    text = _short_prompt(processor)
    logits = []
    for colour in ((250, 250, 250), (160, 20, 60)):
        image = Image.new("RGB", (112, 112), colour)
        inputs = processor(text=[text], images=[image], return_tensors="pt").to(model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.no_grad():
            logits.append(model(**inputs).logits[0, -1].float())
    if not bool(torch.stack(logits).isfinite().all()):
        raise ConfigError(f"{name!r} gives logits that are not numbers; its weights are damaged.")
    if torch.allclose(logits[0], logits[1], rtol=0.0, atol=1e-6):
        raise ConfigError(
            f"{name!r} is blind: changing the image does not change its logits; "
            "check its processor and chat template."
        )


def _short_prompt(processor: Any) -> str:
    content = [{"type": "image"}, {"type": "text", "text": _QUESTION}]
    text: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    return text


def _opening(prompt: str) -> str:
    """From an open ``<think>`` after the question to the prompt's end; empty if there is none."""
    _, tag, rest = prompt.rpartition(_QUESTION)[2].rpartition(THINK_OPEN)
    return tag + rest if tag and THINK_CLOSE not in rest else ""


def is_local(source: str | Path) -> bool:
    """Whether a source is meant as a path on this machine, and not as the id of a hub model."""
    parent, parts = Path(source).expanduser().parent, str(source).split("/")
    if isinstance(source, Path) or len(parts) != 2 or parts[0] in ("", ".", "..", "~"):
        return True
    return parent.is_dir() and str(parent) != "."


def existing_checkpoint(path: str | Path) -> str:
    """Folder or hub id. ConfigError: no folder or no checkpoint; DataError: files were changed."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"Checkpoint {str(path)!r} has no config.json; give the folder of one checkpoint."
            )
        if not gets_weights_from_rank_0():  # one process reads them for all
            check_sums(folder)
        return str(folder)
    if folder.exists():
        raise ConfigError(f"Checkpoint {str(path)!r} is a file; give the folder of one checkpoint.")
    if is_local(path):
        raise missing_path("Checkpoint", path, "give the folder of a checkpoint.")
    return str(path)


def check_checkpoint(path: str | Path) -> Any:
    """The model configuration of a checkpoint or adapter; no weights are loaded.

    Raises ConfigError as `load_policy` does for a folder without configuration, processor or
    weights, and for a text-only model.
    """
    source = existing_checkpoint(base_of(Path(path), None) if is_adapter_folder(path) else path)
    if is_adapter_folder(path):
        check_sums(adapter_weights(Path(path).expanduser()).parent)
    config = _vision_language(source)
    load_processor(source)
    if Path(source).is_dir() and not list(Path(source).glob("*.safetensors")):
        raise _no_weights(source)
    return config


def _no_weights(source: str) -> ConfigError:
    return ConfigError(f"Checkpoint {source!r} has no usable weights; it needs model.safetensors.")


def _vision_language(source: str) -> Any:
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Cannot read a model configuration from {source!r}; "
            "give a folder that save_policy or save_pretrained wrote."
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ConfigError(
            f"{source!r} is a text-only model ({config.model_type}); "
            "choose a vision-language model such as qwen2_vl."
        )
    return config


def _load_model(source: str, dtype: str, device: str, quantize: str, attention: str | None) -> Any:
    if quantize == "none" and gets_weights_from_rank_0():
        return empty_model(source, DTYPES[dtype])
    settings: dict[str, Any] = {"dtype": DTYPES[dtype], "trust_remote_code": False}
    if quantize == "4bit":
        settings["quantization_config"] = quantization_config(DTYPES[dtype])
        settings["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    elif quantize != "none":
        raise unknown_name("quantization", quantize, ("none", "4bit"))
    if attention is not None:
        settings["attn_implementation"] = attention
    try:
        model, found = AutoModelForImageTextToText.from_pretrained(
            source, output_loading_info=True, ignore_mismatched_sizes=True, **settings
        )
    except (OSError, SafetensorError) as error:
        raise _no_weights(source) from error
    except (ImportError, ValueError) as error:
        if attention is None:
            raise
        raise ConfigError(
            f"policy.attn_implementation {attention!r} cannot be used here "
            f"({str(error).splitlines()[0]}); install what it needs, or leave it unset."
        ) from error
    # transformers would fill these at random
    lacking = sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])])
    if lacking:
        raise ConfigError(
            f"Checkpoint {source!r} lacks {len(lacking)} of its model's weights or has them in "
            f"another shape, such as {lacking[0]}; give the whole checkpoint."
        )
    return model if quantize == "4bit" else model.to(device)


def load_processor(path: str | Path) -> Any:
    """The processor alone of a checkpoint; ConfigError if it has none or none for images."""
    source = existing_checkpoint(path)
    try:
        processor = AutoProcessor.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        missing = importlib.util.find_spec("torchvision") is None
        raise ConfigError(
            f"Cannot load the processor of {source!r} ({reason(error)}); "
            + (
                f"torchvision is not installed, and a stock Qwen processor needs it: {INSTALL_IT}."
                if missing
                else "give a folder that save_policy or save_pretrained wrote."
            )
        ) from error
    _require_image_processor(processor, source)
    return processor


def _require_image_processor(processor: Any, name: str) -> None:
    if getattr(processor, "image_processor", None) is None:
        raise ConfigError(
            f"{name!r} has no image processor, so the model would run blind; install torchvision "
            f"({INSTALL_IT}) or save the processor beside the weights."
        )
