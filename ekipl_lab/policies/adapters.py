"""LoRA adapters: which layers they change, how they are saved, loaded and merged.

    policy = load_policy("mlruns/work/run/policy")      # an adapter folder: base + adapter, merged
    merge_adapter("mlruns/work/run/policy", "merged")   # ekipl merge

An adapter changes linear layers of the language model only: the vision tower, its projector and
the output layer stay as they are. Its folder holds ``adapter_model.safetensors``,
``adapter_config.json``, the processor, and ``ekipl_base.json``: which checkpoint it belongs to.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ekipl_lab.errors import ConfigError
from ekipl_lab.files import read_json, write_json

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
BASE_NOTE = "ekipl_base.json"

#: Modules that 4-bit loading leaves alone (patterns of transformers' quantizers).
NOT_QUANTIZED = (
    "lm_head", ".*visual", ".*vision_tower", ".*vision_model",
    ".*multi_modal_projector", ".*connector",
)  # fmt: skip


def is_adapter_folder(path: str | Path) -> bool:
    """Whether ``path`` is a local folder with an adapter instead of whole weights."""
    return (Path(path).expanduser() / ADAPTER_CONFIG).is_file()


def language_linears(model: Any) -> list[str]:
    """Full names of the linear layers of the language model, in order; the output layer is not one.

    Raises ConfigError if the model does not say which part of it the language model is.
    """
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    names = {id(module): name for name, module in model.named_modules()}
    if decoder is None or decoder is model or id(decoder) not in names:
        raise ConfigError(
            f"{type(model).__name__} does not name its language model, which must be known apart "
            "from the vision tower; adapters are not supported for it."
        )
    prefix = names[id(decoder)]
    return [
        f"{prefix}.{name}"
        for name, module in decoder.named_modules()
        if isinstance(module, nn.Linear) and name and "lm_head" not in name
    ]


def lora_config(
    model: Any,
    *,
    rank: int = 16,
    alpha: float = 32.0,
    dropout: float = 0.0,
    targets: Sequence[str] = (),
) -> LoraConfig:
    """PEFT's configuration for ``model``: rank r, scale alpha / r (Hu et al., arXiv 2106.09685).

    ``targets`` are last names of layers (q_proj, ...); none: every linear layer of the language
    model. Raises ConfigError for a target that is not there.
    """
    linears = language_linears(model)
    known = sorted({name.rsplit(".", 1)[-1] for name in linears})
    if unknown := sorted(set(targets) - set(known)):
        raise ConfigError(
            f"policy.adapter.targets {unknown} are no linear layers of this language model; "
            f"it has {', '.join(known)}."
        )
    chosen = [n for n in linears if not targets or n.rsplit(".", 1)[-1] in targets]
    prefix = chosen[0].split(".layers.")[0]
    leaves = "|".join(sorted({re.escape(name.rsplit(".", 1)[-1]) for name in chosen}))
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=rf"(.*\.)?{re.escape(prefix)}\..*\.({leaves})",
        task_type=None,
    )


def vision_parameters(model: Any) -> list[tuple[str, nn.Parameter]]:
    """Name and parameter of everything that is neither language model nor output layer."""
    decoder = {id(p) for p in model.get_decoder().parameters()}
    head = {id(p) for p in model.get_output_embeddings().parameters()}
    return [(n, p) for n, p in model.named_parameters() if id(p) not in decoder | head]


#: What stands between vision tower and language model, as the families name it.
_PROJECTORS = {"merger", "deepstack_merger_list", "multi_modal_projector", "connector"}


def parameters_of(model: Any, part: str) -> list[nn.Parameter]:
    """The parameters of ``vision`` (the tower), ``projector`` or ``language`` (with the head)."""
    seen = vision_parameters(model)
    if part == "language":
        others = {id(p) for _, p in seen}
        return [p for p in model.parameters() if id(p) not in others]
    wanted = part == "projector"
    return [p for name, p in seen if bool(_PROJECTORS & set(name.split("."))) == wanted]


def freeze_parts(model: Any, parts: Sequence[str]) -> int:
    """Freeze parts (`parameters_of`); the number of frozen parameters. ConfigError for one that

    the model does not have apart.
    """
    count = 0
    for part in parts:
        frozen = parameters_of(model, part)
        if not frozen:
            raise ConfigError(f"policy.freeze: {type(model).__name__} has no {part} of its own.")
        for parameter in frozen:
            parameter.requires_grad_(False)
        count += sum(parameter.numel() for parameter in frozen)
    return count


def freeze_vision(model: Any) -> int:
    """Freeze vision tower and projector; the number of frozen parameters."""
    frozen = vision_parameters(model)
    for _, parameter in frozen:
        parameter.requires_grad_(False)
    return sum(parameter.numel() for _, parameter in frozen)


def quantization_config(dtype: torch.dtype) -> Any:
    """4-bit NF4 with double quantization (QLoRA, arXiv 2305.14314); vision tower and head stay.

    Raises ConfigError where there is no CUDA GPU or no bitsandbytes.
    """
    if not torch.cuda.is_available():
        raise ConfigError(
            "policy.quantize 4bit needs a CUDA GPU, and there is none; set policy.quantize: none."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "policy.quantize 4bit needs bitsandbytes; install the gpu extra (`pip install "
            "-e '.[gpu]'`) or set policy.quantize: none."
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(NOT_QUANTIZED),
    )


def write_adapter(model: PeftModel, folder: Path) -> None:
    """Adapter weights, their configuration and a note of the base, into an existing folder."""
    base = str(model.get_base_model().config._name_or_path)
    if base and Path(base).is_dir():
        base = str(Path(base).resolve())
    model.save_pretrained(folder, selected_adapters=["default"])
    (folder / "README.md").unlink(missing_ok=True)  # an empty template
    note = {"base": base, "fingerprint": weights_fingerprint(base)}
    write_json(folder / BASE_NOTE, note)


def base_of(folder: str | Path, base: str | Path | None = None) -> str | Path:
    """The checkpoint an adapter belongs to: ``base``, or what its folder notes.

    Raises ConfigError if the folder names none, or if the weights there are not those it was
    trained on.
    """
    folder = Path(folder).expanduser()
    note = read_json(folder / BASE_NOTE)
    if note is None:
        settings = read_json(folder / ADAPTER_CONFIG) or {}
        note = {"base": settings.get("base_model_name_or_path")}
    chosen = base or note.get("base")
    if not chosen:
        raise ConfigError(f"Adapter {str(folder)!r} does not name its base; give it (--base).")
    if base is None and Path(chosen).is_absolute() and not Path(chosen).is_dir():
        raise ConfigError(
            f"The base of adapter {str(folder)!r}, {chosen}, is gone; give its folder (--base)."
        )
    expected, found = note.get("fingerprint"), weights_fingerprint(chosen)
    if expected and found and expected != found:
        raise ConfigError(
            f"Adapter {str(folder)!r} was trained on other weights than those in {str(chosen)!r}; "
            "give the checkpoint that its run started from."
        )
    return chosen


def weights_fingerprint(folder: str | Path) -> str | None:
    """16 hex digits over names, shapes and the first 64 bytes of every tensor of a checkpoint.

    None unless ``folder`` is local and holds safetensors: a model of the hub is known by its name.
    """
    files = sorted(Path(folder).glob("*.safetensors")) if folder else []
    digest = hashlib.sha256()
    for file in files:
        try:
            _add_tensors(digest, file)
        except _NO_HEADER as error:
            raise ConfigError(f"{file} is damaged: its header cannot be read.") from error
    return digest.hexdigest()[:16] if files else None


#: What reading a header meets that is none: its length may be any number, its content anything.
_NO_HEADER = (
    struct.error, ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError,
)  # fmt: skip


def _add_tensors(digest: hashlib._Hash, file: Path) -> None:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        for name, about in sorted(header.items()):
            stream.seek(8 + length + about["data_offsets"][0])
            size = about["data_offsets"][1] - about["data_offsets"][0]
            start = stream.read(min(64, size))
            digest.update(repr((name, about["dtype"], about["shape"], start)).encode())


def adapter_weights(folder: Path) -> Path:
    """The weights of an adapter; ConfigError if it has none."""
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ConfigError(f"Adapter {str(folder)!r} has no {ADAPTER_WEIGHTS}; save it again.")
    return folder / ADAPTER_WEIGHTS


def apply_adapter(model: Any, folder: str | Path) -> Any:
    """``model`` with the adapter merged into its weights, in its own precision.

    Raises ConfigError if the adapter does not fit the model.
    """
    folder = Path(folder).expanduser()
    weights = adapter_weights(folder)
    try:
        adapted = PeftModel.from_pretrained(model, folder)
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"Adapter {str(folder)!r} does not fit its base: {str(error).splitlines()[0]}"
        ) from error
    if set(get_peft_model_state_dict(adapted)) != set(load_file(weights)):
        raise ConfigError(
            f"Adapter {str(folder)!r} does not fit its base: other layers than it has weights for."
        )
    return adapted.merge_and_unload()
