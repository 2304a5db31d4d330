"""A cache around an ActionSource that runs on this machine: what was generated is not again.

Generation is batched by the source itself, so that there are no single calls to limit or pay for:
whatever is missing of a batch is proposed in one go. Keys, checksums, claims between processes and
the offline replay are those of ``cache``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ekipl_lab.codec import action_of, action_row
from ekipl_lab.errors import TeacherError
from ekipl_lab.prompts import PROMPT_VERSION, build_messages
from ekipl_lab.teachers.gateway.buy import POLL_SECONDS
from ekipl_lab.teachers.gateway.cache import ActionCache, Value, cache_key
from ekipl_lab.teachers.gateway.cache_store import Store
from ekipl_lab.teachers.gateway.spec import GatewaySpec
from ekipl_lab.teachers.gateway.types import KEY_VERSION, image_digest
from ekipl_lab.types import Action, ActionSource, Capabilities, GenerationParams, Sample

_LEASE_SECONDS = 3600.0  # a batch of a large model takes its time; a dead owner is seen at once


class CachedSource:
    """An ActionSource that remembers the actions of another.

    ``identity`` holds the JSON values that decide its actions beside prompt, images, sample id and
    sampling settings: a hash of the weights, its seed. ``spec`` gives ``cache`` and ``offline``;
    offline, ``source`` may be None.
    """

    def __init__(
        self,
        source: ActionSource | None,
        identity: Mapping[str, Any],
        spec: GatewaySpec,
        *,
        id: str,
        capabilities: Capabilities,
    ) -> None:
        self._source, self._identity, self._spec = source, dict(identity), spec
        self.id, self.capabilities = id, capabilities
        self.cache = ActionCache(Store(spec.cache), lease=_LEASE_SECONDS)
        self.hits = self.generated = 0

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """``num_actions`` actions per sample; TeacherError naming one that is missing offline."""
        keys = [self._key(sample, num_actions, params) for sample in samples]
        wanted = dict(zip(keys, samples, strict=True))
        found = dict(self.cache.get_many(wanted))
        held = set(found)
        self.hits += sum(key in held for key in keys)
        while todo := {key: sample for key, sample in wanted.items() if key not in found}:
            if self._source is None or self._spec.offline:
                raise TeacherError(
                    f"Teacher {self.id!r} is offline and {self._spec.cache} holds no action for "
                    f"sample {next(iter(todo.values())).id}."
                )
            found |= self._generate(self._source, todo, num_actions, params)
        return [
            [_action(row, self.id, cached=key in held) for row in found[key]["actions"]]
            for key in keys
        ]

    def missing(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[Sample]:
        """The samples whose actions the cache does not hold."""
        keys = [self._key(sample, num_actions, params) for sample in samples]
        held = self.cache.get_many(keys)
        return [sample for sample, key in zip(samples, keys, strict=True) if key not in held]

    def _generate(
        self,
        source: ActionSource,
        wanted: Mapping[str, Sample],
        num_actions: int,
        params: GenerationParams,
    ) -> dict[str, Value]:
        """Generate what nobody else is generating; with it, what others brought in the meantime."""
        claims = self.cache.claim(list(wanted))
        values: dict[str, Value] = {}
        if claims.mine:
            try:
                rows = source.propose([wanted[key] for key in claims.mine], num_actions, params)
                values = {
                    key: {"actions": [action_row(action) for action in row]}
                    for key, row in zip(claims.mine, rows, strict=True)
                }
                self.cache.put(values)
            except BaseException:
                self.cache.release(claims.mine)
                raise
            self.generated += len(values)
        elif not claims.ready:
            time.sleep(POLL_SECONDS)
        return {**claims.ready, **values}

    def _key(self, sample: Sample, num_actions: int, params: GenerationParams) -> str:
        """One key for all actions of a sample: they are generated together."""
        own = params if self._spec.fresh_draws else replace(params, seed=None)
        return cache_key(
            {
                "key_version": KEY_VERSION,
                "provider": "local",
                "identity": self._identity,
                "sample": sample.id,
                "messages": build_messages(sample),
                "images": [image_digest(image) for image in sample.images],
                "parameters": asdict(own),
                "actions": num_actions,
                "prompt_version": PROMPT_VERSION,
            }
        )


def _action(row: Mapping[str, Any], source: str, *, cached: bool) -> Action:
    action = action_of(row)
    usage = None if action.usage is None else replace(action.usage, cached=cached)
    return replace(action, source=source, usage=usage)
