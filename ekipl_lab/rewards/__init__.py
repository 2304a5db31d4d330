"""Rewards: what an action earned, criterion by criterion.

``get_scorer("ekipl/auto")`` is the default; ``check_ground_truth(sample)`` at load time;
``SCORERS`` are functions of completion and ground truth, the published ones included.
"""

from ekipl_lab.rewards.registry import SCORERS, check_scorer, get_scorer
from ekipl_lab.rewards.typed import MATCHERS, check_ground_truth, check_ground_truths

__all__ = [
    "MATCHERS",
    "SCORERS",
    "check_ground_truth",
    "check_ground_truths",
    "check_scorer",
    "get_scorer",
]
