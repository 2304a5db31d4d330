"""Saving and loading policies, with every wrong use refused before it costs anything."""

from __future__ import annotations

import copy
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

import ekipl_lab.policies.processor  # noqa: F401  (registers the image-only processor)
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.policies.tokenizer import tokenizer_fingerprint

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Policy:
    """A vision-language model with its processor; ``tokenizer_id`` is a hash of the vocabulary."""

    model: Any
    processor: Any
    id: str
    tokenizer_id: str


def as_policy(model: Any, processor: Any, name: str = "policy") -> Policy:
    """Wrap a model in memory (for example the one in training). Checks the image processor only."""
    _require_image_processor(processor, name)
    return Policy(model, processor, name, tokenizer_fingerprint(processor.tokenizer))


def load_policy(path: str | Path, *, dtype: str = "float32", device: str = "cpu") -> Policy:
    """Load a checkpoint folder, or a model of the hub by its name, in evaluation mode.

    Raises ConfigError if there is no such checkpoint, if it is a text-only model, if it has no
    image processor, or if changing the image does not change the logits (a blind model).
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    source = _existing_checkpoint(path)
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Cannot read a model configuration from {str(path)!r}; "
            "give a folder that save_policy or save_pretrained wrote."
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ConfigError(
            f"{str(path)!r} is a text-only model ({config.model_type}); "
            "choose a vision-language model such as qwen2_vl."
        )
    processor = _load_processor(source)
    _require_image_processor(processor, str(path))
    try:
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=DTYPES[dtype])
    except OSError as error:
        raise ConfigError(
            f"Checkpoint {str(path)!r} has no usable weights; it needs model.safetensors."
        ) from error
    model.to(device).eval()
    require_sight(model, processor, str(path))
    return as_policy(model, processor, Path(source).name)


def save_policy(model: Any, processor: Any, folder: str | Path, *, dtype: str = "float16") -> Path:
    """Write weights (safetensors, ``dtype``), configuration and processor as one folder.

    The folder appears whole or not at all; files in an earlier one that are not of the checkpoint
    (a model card) are kept.
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    staging.chmod(0o755)
    if target.is_dir():
        shutil.copytree(target, staging, dirs_exist_ok=True)
    half = copy.deepcopy(model).to("cpu", DTYPES[dtype])
    half.save_pretrained(staging)
    processor.save_pretrained(staging)
    for path in staging.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.replace(old / "gone")
        staging.replace(target)
        shutil.rmtree(old)
    else:
        staging.replace(target)
    return target


def require_sight(model: Any, processor: Any, name: str) -> None:
    """Raise ConfigError unless two unlike images give unlike logits for the same question."""
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    logits = []
    for colour in ((250, 250, 250), (160, 20, 60)):
        image = Image.new("RGB", (112, 112), colour)
        inputs = processor(text=[text], images=[image], return_tensors="pt").to(model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.no_grad():
            logits.append(model(**inputs).logits[0, -1].float())
    if torch.allclose(logits[0], logits[1], rtol=0.0, atol=1e-6):
        raise ConfigError(
            f"{name!r} is blind: changing the image does not change its logits; "
            "check its processor and chat template."
        )


def _existing_checkpoint(path: str | Path) -> str:
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"Checkpoint {str(path)!r} has no config.json; give the folder of one checkpoint."
            )
        return str(folder)
    parts = str(path).split("/")
    looks_local = isinstance(path, Path) or len(parts) != 2 or parts[0] in ("", ".", "..", "~")
    if looks_local or (folder.parent.is_dir() and str(folder.parent) != "."):
        raise ConfigError(
            f"Checkpoint {str(path)!r} does not exist; give the folder of a checkpoint."
        )
    return str(path)


def _load_processor(source: str) -> Any:
    try:
        return AutoProcessor.from_pretrained(source)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"Cannot load the processor of {source!r} ({str(error).splitlines()[0]}); "
            "a stock Qwen processor needs the gpu extra (torchvision)."
        ) from error


def _require_image_processor(processor: Any, name: str) -> None:
    if getattr(processor, "image_processor", None) is None:
        raise ConfigError(
            f"{name!r} has no image processor, so the model would run blind; "
            "install the gpu extra (torchvision) or save the processor beside the weights."
        )
