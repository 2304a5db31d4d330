"""A vision-language model of transformers on this machine as teacher.

``{type: local, id: big, path: assets/policies/bigger}``, or a hub id. Batched, with the
log-probabilities of what was sampled, and with a random state of its own, made from its seed, the
pass over the data and the sample: the caller's does not move. With a ``gateway:`` block its
actions are cached (``cache``, ``offline``, ``fresh_draws``; the rest needs no setting here).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ekipl_lab.errors import ConfigError
from ekipl_lab.prompts import instructed
from ekipl_lab.teachers.draws import stable_int
from ekipl_lab.teachers.gateway.cached_source import CachedSource
from ekipl_lab.teachers.gateway.spec import GatewaySpec
from ekipl_lab.teachers.repair import repair
from ekipl_lab.teachers.spec import TeacherSpecBase
from ekipl_lab.types import Action, ActionSource, Capabilities, GenerationParams, Sample

_SAMPLED_BYTES = 2**20


class LocalSpec(TeacherSpecBase):
    """Settings of a local model.

    ``instructed``: also on the built-in benchmark tell the model the form of the answer, which a
    stock model needs and a policy of this project does not, and repair near-misses of it.
    """

    type: Literal["local"] = "local"
    path: str
    temperature: float | None = Field(default=None, ge=0.0)
    max_tokens: int | None = Field(default=None, ge=1)
    dtype: str = "float32"
    device: str = "cpu"
    max_rows: int = Field(default=256, ge=1)
    instructed: bool = False
    gateway: GatewaySpec | None = None


class LocalTeacher:
    """An ActionSource over the ActionSource of a checkpoint, with a teacher's own settings."""

    def __init__(self, source: ActionSource, spec: LocalSpec) -> None:
        self._source, self._spec = source, spec

    @property
    def id(self) -> str:
        """The teacher's id, ``Action.source`` of its actions."""
        return self._spec.id

    @property
    def capabilities(self) -> Capabilities:
        """Those of the checkpoint."""
        return self._source.capabilities

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """``num_actions`` sampled actions per sample; equal calls give equal actions."""
        spec = self._spec
        own = replace(
            params,
            temperature=params.temperature if spec.temperature is None else spec.temperature,
            max_new_tokens=spec.max_tokens or params.max_new_tokens,
            seed=stable_int(spec.resolved_seed, params.seed or 0) % 2**31,
        )
        told = [instructed(sample, spec.instructed) for sample in samples]
        rows = self._source.propose(told, num_actions, own)
        if not spec.instructed:
            return rows
        return [[_repaired(action) for action in row] for row in rows]


def build_local_teacher(spec: LocalSpec) -> ActionSource:
    """The teacher of a spec, cached if it has a ``gateway:`` block.

    Raises ConfigError if the checkpoint cannot be loaded. Offline, only its files are read.
    """
    if spec.gateway is None:
        return _load(spec)
    identity = {
        "weights": weights_fingerprint(spec.path),
        "seed": spec.resolved_seed,
        "settings": spec.model_dump(
            mode="json", include={"temperature", "max_tokens", "dtype", "instructed"}
        ),
    }
    source = None if spec.gateway.offline else _load(spec)
    capabilities = Capabilities(logprobs=True) if source is None else source.capabilities
    return CachedSource(source, identity, spec.gateway, id=spec.id, capabilities=capabilities)


def weights_fingerprint(path: str) -> str:
    """A hash of a checkpoint's small files and of begin, end and size of its large ones.

    A model of the hub, which is no folder, is known by its name.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return path
    digest = hashlib.sha256()
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors"))
    if not files:
        raise ConfigError(f"Checkpoint {path!r} has no weights; give the folder of a checkpoint.")
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLED_BYTES))
            stream.seek(max(0, size - _SAMPLED_BYTES))
            digest.update(stream.read())
    return digest.hexdigest()


def _load(spec: LocalSpec) -> LocalTeacher:
    from ekipl_lab.policies.load import load_policy
    from ekipl_lab.policies.source import PolicySource

    policy = load_policy(spec.path, dtype=spec.dtype, device=spec.device)
    return LocalTeacher(PolicySource(policy, id=spec.id, max_rows=spec.max_rows), spec)


def _repaired(action: Action) -> Action:
    """The action brought to form; its tokens are kept only if nothing had to be changed."""
    fixed = repair(action.completion, finished=action.finish_reason == "stop")
    if not fixed.repairs:
        return action
    unknown: dict[str, Any] = {"token_ids": None, "logprobs": None, "tokenizer_id": None}
    return replace(action, completion=fixed.completion, **unknown)
