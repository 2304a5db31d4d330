"""Why groups taught nothing, in words, and which setting to try.

``examine`` the diagnosis; ``advice`` the sentence and the settings for each.
"""

from ekipl_lab.group_doctor.examine import (
    CAUSES,
    TEACHER_CAUSES,
    Examination,
    Finding,
    Group,
    cause_of,
    examine,
)

__all__ = [
    "CAUSES",
    "TEACHER_CAUSES",
    "Examination",
    "Finding",
    "Group",
    "cause_of",
    "examine",
]
