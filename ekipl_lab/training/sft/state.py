"""The resumable state of a warm start: one safetensors file with the progress in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ekipl_lab.errors import DataError
from ekipl_lab.files import replacing

_STATE, _SEAL = "state.safetensors", "sha256"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: ``step`` steps of stage number ``stage`` are done.

    ``fingerprint``: of the recipe up to that stage.
    """

    stage: int
    step: int
    seconds: float
    fingerprint: str


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, torch.Tensor]:
    """The optimizer's state as flat tensors, ``prefix/<parameter index>/<name>``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}/{index}/{name}": torch.as_tensor(value).detach().clone().contiguous()
        for index, entry in state.items()
        for name, value in entry.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], prefix: str
) -> None:
    """Put back what ``optimizer_tensors`` gave; parameter groups keep their own settings."""
    entries: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        head, _, rest = key.partition("/")
        if head == prefix:
            index, _, name = rest.partition("/")
            entries.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def save_state(folder: Path, tensors: Mapping[str, torch.Tensor], progress: Progress) -> None:
    """Replace the state in ``folder``; a reader sees the old state or the new one, never a mix."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    shown = json.dumps(asdict(progress))
    about = {"progress": shown, _SEAL: _digest(whole, shown)}
    with replacing(folder / _STATE) as path:
        save_file(whole, path, metadata=about)


def load_state(
    folder: Path, fingerprints: Sequence[str]
) -> tuple[dict[str, torch.Tensor], Progress] | None:
    """The saved state, or None where there is none.

    ``fingerprints``: of the recipe up to each of its stages. Raises DataError if the state comes
    from another recipe (what was done must be the beginning of this one), or is damaged.
    """
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            about = stream.metadata()
        tensors, progress = load_file(path), Progress(**json.loads(about["progress"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    if about.get(_SEAL) not in (None, _digest(tensors, about["progress"])):  # None: an earlier one
        raise _damaged(path)
    if progress.fingerprint not in fingerprints[progress.stage : progress.stage + 1]:
        raise DataError(
            f"{str(folder)!r} holds the state of another warm start; "
            "delete that folder or choose another work_dir."
        )
    return tensors, progress


def _digest(tensors: Mapping[str, torch.Tensor], progress: str) -> str:
    digest = hashlib.sha256(progress.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _damaged(path: Path) -> DataError:
    return DataError(f"{path} is damaged; put it back from a copy, or delete it to start anew.")
