"""What teachers have in common that write text on this machine, without a model."""

from __future__ import annotations

from ekipl_lab.types import Action, Capabilities


class TextTeacher:
    """An id, and actions under it; subclasses say what is proposed (``ActionSource.propose``)."""

    def __init__(self, id: str) -> None:
        self._id = id

    @property
    def id(self) -> str:
        """The teacher's id, ``Action.source`` of its actions."""
        return self._id

    @property
    def capabilities(self) -> Capabilities:
        """Any number of images; no log-probabilities."""
        return Capabilities()

    def _action(self, completion: str, model_id: str, finish_reason: str = "stop") -> Action:
        return Action(completion, source=self._id, model_id=model_id, finish_reason=finish_reason)
