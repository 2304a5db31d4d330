"""GPUs that a run can be planned for by name: ``hardware: t4``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """``memory_gib`` is what a process can take of the card, a little below what its name says."""

    memory_gib: float
    bfloat16: bool = True


#: Memory as torch reports it (total_memory, ECC on where the card has it), rounded down.
TARGETS = {
    "t4": Target(14.5, bfloat16=False),
    "4090": Target(23.5),
    "a100": Target(39.0),
    "a100_80gb": Target(79.0),
    "h100": Target(79.0),
}
