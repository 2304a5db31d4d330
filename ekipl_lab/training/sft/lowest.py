"""The policy of the lowest loss on held-out examples, and when to stop looking for a lower one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ekipl_lab.errors import DataError
from ekipl_lab.training.checkpoint import read_note, write_note


class Lowest:
    """Losses by step, kept in ``folder`` with the policy of the lowest of them.

    ``every``: steps between two measurements; ``patience``: measurements without a new lowest after
    which training ends. Step 0 is measured too: a policy that training only makes worse stays.
    """

    def __init__(self, folder: Path, every: int, patience: int) -> None:
        self._folder, self._every, self._patience = folder, every, patience
        note = read_note(folder / "losses.json") or {"losses": []}
        self.losses = {int(step): float(loss) for step, loss in note["losses"]}

    def begin(self, step: int) -> None:
        """Training goes on from ``step``: what was measured after it will be measured again."""
        self.losses = {at: loss for at, loss in self.losses.items() if at <= step}

    def due(self, step: int, steps: int) -> bool:
        """Whether to measure after ``step`` of so many."""
        return step not in self.losses and (step % self._every == 0 or step >= steps)

    def add(self, step: int, loss: float, save: Callable[[Path], object]) -> None:
        """Take a loss in; ``save(folder)`` writes the policy where that is the lowest so far."""
        if not self.losses or loss < min(self.losses.values()):
            save(self._place(step))
        self.losses[step] = loss

    def keep(self) -> None:
        """Note the losses and delete all policies but the lowest's.

        Call it once training can be continued from the last step that was measured.
        """
        write_note(self._folder / "losses.json", {"losses": list(self.losses.items())})
        for path in self._folder.glob("step-*"):
            if path != self._place(self.step):
                shutil.rmtree(path)

    @property
    def step(self) -> int:
        """The step of the lowest loss, the first of equal ones."""
        return min(self.losses, key=lambda step: (self.losses[step], step))

    @property
    def policy(self) -> Path:
        """The folder of its policy; DataError where a damaged checkpoint has cost it."""
        path = self._place(self.step)
        if not path.is_dir():
            raise DataError(
                f"The policy of the lowest validation loss, {path}, is gone; give --fresh."
            )
        return path

    @property
    def stop(self) -> bool:
        """Whether ``patience`` measurements have passed without a new lowest."""
        return sum(step > self.step for step in self.losses) >= self._patience

    def _place(self, step: int) -> Path:
        return self._folder / f"step-{step:06d}"
