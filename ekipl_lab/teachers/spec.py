"""What every teacher's configuration has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ekipl_lab.teachers.draws import stable_int


class TeacherSpecBase(BaseModel):
    """An id, k actions per prompt, a seed (default: made from the id)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    actions: int = Field(default=1, ge=1)
    seed: int | None = None

    @property
    def resolved_seed(self) -> int:
        """``seed``, or one made from the id, so that two teachers do not err together."""
        return stable_int(self.id) % 2**31 if self.seed is None else self.seed
