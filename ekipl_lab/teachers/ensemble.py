"""M teachers as one, k actions each.

::

    {type: ensemble, id: panel, each: 2, members: [
        {type: openai, id: gpt, model: gpt-4o}, {type: local, id: big, path: ...}]}

Its actions carry the ensemble's id as source and ``member/model`` as model.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ekipl_lab.errors import ConfigError
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.types import Action, ActionSource, Capabilities, GenerationParams, Sample


class EnsembleTeacher:
    """An ActionSource over several; actions come member by member, in the members' order.

    Members behind a gateway are asked at the same time, others one after another.
    """

    def __init__(self, id: str, members: Sequence[ActionSource]) -> None:
        ids = [member.id for member in members]
        if not members or len(set(ids)) < len(ids):
            raise ConfigError(f"Ensemble {id!r} needs members with ids of their own; got {ids}.")
        self.id, self.members = id, tuple(members)
        each = [member.capabilities for member in self.members]
        tokenizers = {capabilities.tokenizer_id for capabilities in each}
        #: What all members can; log-probabilities of one tokenizer only.
        self.capabilities = Capabilities(
            images=all(capabilities.images for capabilities in each),
            several_images=all(capabilities.several_images for capabilities in each),
            logprobs=all(capabilities.logprobs for capabilities in each),
            tokenizer_id=tokenizers.pop() if len(tokenizers) == 1 else None,
        )

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """``num_actions / M`` actions of every member; ConfigError if that does not divide."""
        each, rest = divmod(num_actions, len(self.members))
        if rest or each < 1:
            raise ConfigError(
                f"Ensemble {self.id!r} has {len(self.members)} members; {num_actions} actions "
                "cannot be shared evenly among them."
            )

        def ask(member: ActionSource) -> list[list[Action]]:
            rows = member.propose(samples, each, params)
            return [[self._renamed(action, member.id) for action in row] for row in rows]

        remote = [member for member in self.members if isinstance(member, Gateway)]
        with ThreadPoolExecutor(max(1, len(remote))) as pool:
            futures = {member.id: pool.submit(ask, member) for member in remote}
            here = {m.id: ask(m) for m in self.members if m.id not in futures}
            answers = here | {name: future.result() for name, future in futures.items()}
        ordered = [answers[member.id] for member in self.members]
        return [[action for row in rows for action in row] for rows in zip(*ordered, strict=True)]

    def _renamed(self, action: Action, member: str) -> Action:
        return replace(action, source=self.id, model_id=f"{member}/{action.model_id}")


def members_of(source: ActionSource, actions: int) -> list[tuple[ActionSource, int]]:
    """The teachers behind a teacher of ``actions`` per sample, and the actions asked of each."""
    if not isinstance(source, EnsembleTeacher):
        return [(source, actions)]
    return [(member, actions // len(source.members)) for member in source.members]


def gateways(source: ActionSource, actions: int) -> list[tuple[Gateway, int]]:
    """The gateways among them."""
    found = members_of(source, actions)
    return [(member, each) for member, each in found if isinstance(member, Gateway)]
