"""The teacher in the prompt: rows that begin with a part of a teacher's chain.

Where fewer than ``min_successes`` of the policy's own G actions succeeded, the last ``rows`` of the
group are sampled again: each begins with the first floor(share * (n - 1)) of the n tokens of a
teacher's right action (its end is never given) and the policy goes on from there. The reward is of
the whole action; the loss is over the policy's own tokens (TRL's ``tool_mask``). ``share`` falls
over training by the schedule ``prefix.share``. BREAD (arXiv 2506.17211) and Prefix-RFT (2507.01679)
do so; POPE (2601.18779) gives the part as a hint in the prompt. DAHS (2604.07747) anneals hints
backwards by the difficulty of a question and leaves some prompts without one; here the share falls
for all alike, and the rest of the group is without. ZPPO (2606.18216) is of this kind too.
Departure from BREAD: the place of the cut follows the schedule, not a search for the shortest part
that helps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from ekipl_lab.validation import Section


class TeacherPrefix(Section):
    """``share`` of the chain that is given, 0: off; ``rows``: share of a group that begins so.

    ``min_successes``: of the policy, below which a prompt counts as failed.
    """

    share: float = Field(default=0.0, ge=0.0, lt=1.0)
    rows: float = Field(default=0.5, gt=0.0, le=1.0)
    min_successes: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _used(self) -> Self:
        if not self.on:
            self.refuse_idle("ekipl.prefix", "set ekipl.prefix.share above 0")
        return self

    @property
    def on(self) -> bool:
        """Whether any row begins so."""
        return self.share > 0.0


def prefix_length(tokens: int, share: float) -> int:
    """Tokens given of an action of so many, EOS included: floor(share * (tokens - 1))."""
    return max(0, math.floor(share * (tokens - 1)))


def rows_to_redo(success: Sequence[bool], prefix: TeacherPrefix) -> list[int]:
    """Which of a group's G rows begin with a teacher's chain: none where the prompt is solved."""
    if sum(success) >= prefix.min_successes:
        return []
    count = max(1, math.floor(prefix.rows * len(success)))
    return list(range(len(success) - count, len(success)))
