"""Why groups taught nothing, in words, and which setting to try.

``causes`` why a group taught nothing; ``examine`` the diagnosis of a window of groups; ``advice``
the sentence and the settings for each.
"""

from ekipl_lab.groups.doctor.causes import CAUSES, Group, cause_of, zero_spread_cause
from ekipl_lab.groups.doctor.examine import (
    TEACHER_CAUSES,
    Examination,
    Finding,
    examine,
    examine_recorded,
)

__all__ = [
    "CAUSES",
    "TEACHER_CAUSES",
    "Examination",
    "Finding",
    "Group",
    "cause_of",
    "examine",
    "examine_recorded",
    "zero_spread_cause",
]
