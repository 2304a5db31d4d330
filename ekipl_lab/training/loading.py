"""What a run's trainers do otherwise than transformers': they load strictly and tell nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate.utils import is_peft_model
from transformers import TrainerState


class CheckedLoading:
    """To stand before TRL's trainer among the bases of a class."""

    model: Any
    state: TrainerState

    def _send_telemetry(self) -> None:
        """Nothing about a run is sent anywhere."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load what `save_pretrained` wrote, strictly.

        transformers' own method puts the file's keys straight into the model. For
        vision-language models those are the published, older names, so that nothing fits,
        a warning is all there is, and training goes on from the start's weights.
        """
        model = model or self.model
        if is_peft_model(model) or self.is_fsdp_enabled or self.is_deepspeed_enabled:  # type: ignore[attr-defined]
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        loaded = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(loaded.state_dict(), strict=True)

    def load_end(self, folder: Path) -> None:
        """Take weights and history of the last step's checkpoint: nothing is left to train."""
        self._load_from_checkpoint(str(folder))
        self.state = TrainerState.load_from_json(str(folder / "trainer_state.json"))
