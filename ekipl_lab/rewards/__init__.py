"""Rewards: what an action earned, criterion by criterion.

``get_scorer("ekipl/auto")`` is the default; ``check_ground_truth(sample)`` at load time.
"""

from ekipl_lab.rewards.registry import get_scorer
from ekipl_lab.rewards.typed import MATCHERS, Scorer, check_ground_truth, check_ground_truths

__all__ = ["MATCHERS", "Scorer", "check_ground_truth", "check_ground_truths", "get_scorer"]
