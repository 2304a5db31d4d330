"""A local vision-language model as teacher: a checkpoint, through ``ekipl_lab.policies``.

It samples with its own seed, made from the teacher's seed and the draw, so that the caller's
random state does not move and a repeated question gets the same actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ekipl_lab.sources.seeding import stable_int
from ekipl_lab.types import Action, ActionSource, Capabilities, GenerationParams, Sample


class PolicyTeacher:
    """Wraps the ActionSource of a checkpoint with a teacher's seed and temperature."""

    def __init__(self, source: ActionSource, *, temperature: float = 1.0, seed: int = 0) -> None:
        self._source, self._temperature, self._seed = source, temperature, seed

    @property
    def id(self) -> str:
        """The teacher's id, ``Action.source`` of its actions."""
        return self._source.id

    @property
    def capabilities(self) -> Capabilities:
        """Those of the checkpoint."""
        return self._source.capabilities

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """Sampled actions; the source makes its random numbers from this seed and the sample."""
        seed = stable_int(self._seed, params.seed or 0) % 2**31
        own = replace(params, temperature=self._temperature, seed=seed)
        return self._source.propose(samples, num_actions, own)


def load_policy_teacher(
    path: str, *, id: str, temperature: float = 1.0, seed: int = 0, device: str = "cpu"
) -> PolicyTeacher:
    """The teacher of a checkpoint folder; ConfigError if it cannot be loaded."""
    from ekipl_lab.policies.load import load_policy
    from ekipl_lab.policies.source import PolicySource

    source = PolicySource(load_policy(path, device=device), id=id)
    return PolicyTeacher(source, temperature=temperature, seed=seed)
