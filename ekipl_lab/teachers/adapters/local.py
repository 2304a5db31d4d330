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
from typing import Literal

from pydantic import Field

from ekipl_lab.errors import ConfigError
from ekipl_lab.prompts import instructed
from ekipl_lab.teachers.draws import stable_int
from ekipl_lab.teachers.gateway.cached_source import CachedSource
from ekipl_lab.teachers.gateway.spec import GatewaySpec
from ekipl_lab.teachers.repair import repaired
from ekipl_lab.teachers.spec import TeacherContext, TeacherSpecBase
from ekipl_lab.types import Action, ActionSource, Capabilities, GenerationParams, Sample
from ekipl_lab.validation import MOST_TEMPERATURE, Temperature

_SAMPLED_BYTES = 2**20
_SETTINGS_AND_WEIGHTS = (".json", ".safetensors")
#: Chat templates and vocabularies: they decide the prompt too.
_DECISIVE = (*_SETTINGS_AND_WEIGHTS, ".jinja", ".model", ".txt")


class LocalSpec(TeacherSpecBase):
    """Settings of a local model.

    ``instructed``: also on the built-in benchmark tell the model the form of the answer, which a
    stock model needs and a policy of this project does not, and repair near-misses of it.
    """

    type: Literal["local", "policy"] = "local"
    path: str
    temperature: Temperature | None = Field(default=None, ge=0.0, le=MOST_TEMPERATURE)
    max_tokens: int | None = Field(default=None, ge=1)
    dtype: str = "float32"
    device: str = "cpu"
    max_rows: int = Field(default=256, ge=1)
    instructed: bool = False
    gateway: GatewaySpec | None = None

    @property
    def may_give_logprobs(self) -> bool:
        return True

    def build(self, context: TeacherContext) -> ActionSource:
        """The teacher, cached if there is a ``gateway:`` block.

        Raises ConfigError if the checkpoint cannot be loaded. Offline, only its files are read.
        """
        if self.gateway is None:
            return self._load()
        decisive = {"temperature", "max_tokens", "dtype", "instructed"}
        identity = {
            "weights": self.fingerprint(),
            "seed": self.resolved_seed,
            "settings": self.model_dump(mode="json", include=decisive),
        }
        source = None if self.gateway.offline else self._load()
        capabilities = Capabilities(logprobs=True) if source is None else source.capabilities
        return CachedSource(source, identity, self.gateway, id=self.id, capabilities=capabilities)

    def check(self, context: TeacherContext) -> None:
        from ekipl_lab.policies.load import check_checkpoint, check_placement

        if self.gateway is not None and self.gateway.offline:
            self.build(context)
        else:
            check_placement(self.dtype, self.device)
            check_checkpoint(self.path)

    def fingerprint(self) -> str:
        from ekipl_lab.policies.adapters import base_of, is_adapter_folder

        own = weights_fingerprint(self.path)
        if not is_adapter_folder(self.path):
            return own
        base = weights_fingerprint(str(base_of(self.path)))
        return hashlib.sha256((own + base).encode()).hexdigest()

    def _load(self) -> LocalTeacher:
        from ekipl_lab.policies.load import load_policy
        from ekipl_lab.policies.source import PolicySource

        policy = load_policy(self.path, dtype=self.dtype, device=self.device)
        return LocalTeacher(PolicySource(policy, id=self.id, max_rows=self.max_rows), self)


class PolicySpec(LocalSpec):
    """The short form of ``local`` for a checkpoint of this project: at temperature 1."""

    type: Literal["policy"] = "policy"
    temperature: Temperature | None = Field(default=1.0, ge=0.0, le=MOST_TEMPERATURE)


class LocalTeacher:
    """An ActionSource over the ActionSource of a checkpoint, with a teacher's own settings."""

    def __init__(self, source: ActionSource, spec: LocalSpec) -> None:
        self.id, self.capabilities = spec.id, source.capabilities
        self._source, self._spec = source, spec

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
        asked = [instructed(sample, spec.instructed) for sample in samples]
        rows = self._source.propose(asked, num_actions, own)
        if not spec.instructed:
            return rows
        return [[repaired(action) for action in row] for row in rows]


def weights_fingerprint(path: str) -> str:
    """A hash of a checkpoint's small files (settings, chat template, vocabulary) and of begin, end
    and size of its large ones.

    A model of the hub, which is no folder, is known by its name.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return path
    digest = hashlib.sha256()
    files = sorted(file for file in folder.iterdir() if file.suffix in _DECISIVE)
    if not any(file.suffix in _SETTINGS_AND_WEIGHTS for file in files):
        raise ConfigError(f"Checkpoint {path!r} has no weights; give the folder of a checkpoint.")
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLED_BYTES))
            stream.seek(max(0, size - _SAMPLED_BYTES))
            digest.update(stream.read())
    return digest.hexdigest()
