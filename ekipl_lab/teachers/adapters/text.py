"""What teachers have in common that write text on this machine, without a model."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ekipl_lab.teachers.draws import stable_int
from ekipl_lab.types import Action, Capabilities, GenerationParams, Sample


class TextTeacher:
    """An ActionSource; a subclass says how one action is drawn (``_act``), or what is proposed."""

    capabilities = Capabilities()

    def __init__(self, id: str, *, seed: int = 0) -> None:
        self.id, self._seed = id, seed

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """``num_actions`` actions for every sample, each from random numbers of its own.

        They depend on the teacher's seed, the sample's id, the index of the action, and the draw
        (``params.seed``, None counts as 0). TeacherError for a sample that has none.
        """

        def one(sample: Sample, index: int) -> Action:
            numbers = stable_int(self._seed, sample.id, index, params.seed or 0)
            return self._act(sample, random.Random(numbers))

        return [[one(sample, index) for index in range(num_actions)] for sample in samples]

    def _act(self, sample: Sample, rng: random.Random) -> Action:
        raise NotImplementedError

    def _action(self, completion: str, model_id: str, finish_reason: str = "stop") -> Action:
        return Action(completion, source=self.id, model_id=model_id, finish_reason=finish_reason)
