"""Saving policies as sealed folders that appear whole or not at all; merging adapters."""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from ekipl_lab.errors import ConfigError, missing_path, unknown_name
from ekipl_lab.files import SUMS, check_folder, read_sums, write_sums
from ekipl_lab.policies.adapters import (
    ADAPTER_WEIGHTS,
    BASE_NOTE,
    base_of,
    is_adapter_folder,
    write_adapter,
)
from ekipl_lab.policies.load import DTYPES, existing_checkpoint, load_policy

#: Files of an earlier checkpoint, in whose company the new ones would be read as something else:
#: an adapter's settings make whole weights an adapter, an index makes them a part.
_OF_A_CHECKPOINT = (
    "*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*", "config.json",
    "generation_config.json", "adapter_config.json", "*processor_config.json", "tokenizer*",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*",
    "additional_chat_templates", BASE_NOTE, SUMS,
)  # fmt: skip


def save_policy(model: Any, processor: Any, folder: str | Path, *, dtype: str = "float16") -> Path:
    """Write weights (safetensors, ``dtype``), configuration and processor as one sealed folder.

    Of a PeftModel only the adapter is written, in its own precision (`policies.adapters`).
    The folder appears whole or not at all; files in an earlier one that are not of the checkpoint
    (a model card) are kept.
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(".tmp", f".{target.name}.", target.parent))
    try:
        _write_policy(model, processor, target, staging, dtype)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return _put(staging, target)


def _put(staging: Path, target: Path) -> Path:
    """A whole new folder in the place of ``target``."""
    if target.exists():
        old = Path(tempfile.mkdtemp(".tmp", f".{target.name}.old.", target.parent))
        target.replace(old / "gone")
        staging.replace(target)
        shutil.rmtree(old)
    else:
        staging.replace(target)
    return target


def _write_policy(model: Any, processor: Any, target: Path, staging: Path, dtype: str) -> None:
    """The files of `save_policy`, in ``staging``."""
    staging.chmod(0o755)
    if target.is_dir():
        others = shutil.ignore_patterns(*_OF_A_CHECKPOINT)
        shutil.copytree(target, staging, dirs_exist_ok=True, ignore=others)
    kept = [path.name for path in staging.rglob("*") if path.is_file()]
    if isinstance(model, PeftModel):
        write_adapter(model, staging)
    else:
        copy.deepcopy(model).to("cpu", DTYPES[dtype]).save_pretrained(staging)
    processor.save_pretrained(staging)
    write_sums(staging, leave_out=[BASE_NOTE, *kept])  # a base may move, other files may change
    for path in staging.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)


def merge_adapter(
    adapter: str | Path,
    folder: str | Path,
    *,
    base: str | Path | None = None,
    dtype: str | None = None,
) -> Path:
    """Write base + adapter as one ordinary checkpoint (safetensors, processor beside it).

    Merged in float32, saved in ``dtype`` (None: the base's own). Raises ConfigError if ``adapter``
    is none, or if ``folder`` is that of the adapter or its base.
    """
    if not Path(adapter).expanduser().exists():
        raise missing_path("Adapter", adapter, "give the folder of an adapter.")
    if not is_adapter_folder(adapter):
        raise ConfigError(f"{str(adapter)!r} is not an adapter folder (no adapter_config.json).")
    check_folder(Path(folder).expanduser())
    source = existing_checkpoint(base_of(adapter, base))
    for what, place in (("adapter", adapter), ("base", source)):
        if Path(place).expanduser().resolve() == Path(folder).expanduser().resolve():
            raise ConfigError(
                f"{str(folder)!r} is the {what} itself and would be overwritten; name another "
                "folder (--out)."
            )
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    own = {value: name for name, value in DTYPES.items()}.get(config.dtype, "float32")
    policy = load_policy(adapter, base=base)
    return save_policy(policy.model, policy.processor, folder, dtype=dtype or own)


def scale_adapter(folder: str | Path, share: float) -> Path:
    """Keep ``share`` of what a LoRA adapter changes, in its own folder.

    With W + (alpha / r) B A the weights that it gives, every B is multiplied by ``share``: those of
    `policies.average` between the base and them. The folder changes whole or not at all.
    """
    target = Path(folder)
    if not is_adapter_folder(target):
        raise ConfigError(f"{str(folder)!r} is not an adapter folder (no adapter_config.json).")
    staging = Path(tempfile.mkdtemp(".tmp", f".{target.name}.", target.parent))
    try:
        listed = read_sums(target)
        shutil.copytree(target, staging, dirs_exist_ok=True)
        weights = load_file(target / ADAPTER_WEIGHTS)
        for name, tensor in weights.items():
            if ".lora_B." in name:
                weights[name] = (share * tensor.float()).to(tensor.dtype)
        save_file(weights, staging / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        others = {p.relative_to(staging).as_posix() for p in staging.rglob("*") if p.is_file()}
        write_sums(staging, leave_out=others - set(listed))
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return _put(staging, target)
