"""Every selection rule against kept indices worked out by hand."""

import math

import pytest

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.selection import SELECTION_RULES, get_rule

NAN = math.nan


def keep(rule, policy, teachers, group_size=None, success=None, **params):
    """Kept indices for a pool of policy rewards followed by teacher rewards."""
    rewards = [*policy, *teachers]
    is_policy = [True] * len(policy) + [False] * len(teachers)
    success = [r >= 1 for r in rewards] if success is None else success
    return SELECTION_RULES[rule](rewards, is_policy, success, group_size or len(policy), **params)


def test_top_g_keeps_the_highest_rewards_in_pool_order():
    # Rewards 0.5 1 0 0.2 | 1 0.1: the best four are 1 (index 1), 1 (4), 0.5 (0), 0.2 (3).
    assert keep("top_g", [0.5, 1.0, 0.0, 0.2], [1.0, 0.1]) == [0, 1, 3, 4]


def test_top_g_breaks_ties_by_policy_then_lower_index():
    assert keep("top_g", [1, 0, 0, 0], [1, 0]) == [0, 1, 2, 4]
    assert keep("top_g", [1, 1, 1, 1], [1, 1]) == [0, 1, 2, 3]


def test_top_g_ranks_negative_rewards_and_keeps_the_unscorable_last():
    assert keep("top_g", [-1.0, NAN, -2.0], [-3.0, NAN]) == [0, 2, 3]
    # Two scorable actions only: the third place goes to the policy's NaN, not to the teacher's.
    assert keep("top_g", [NAN, -2.0, NAN], [0.0, NAN]) == [0, 1, 3]


def test_top_g_keeps_failures_in_place_of_its_worst_others():
    # Kept without failures: 0, 1, 4, 5 (all right). One failure must stay: index 2 replaces the
    # worst-ranked of the four, which is teacher 5 (a tie of rewards: the higher teacher index).
    assert keep("top_g", [1, 1, 0, 0], [1, 1], keep_failures=1) == [0, 1, 2, 4]
    assert keep("top_g", [1, 1, 0, 0], [1, 1], keep_failures=2) == [0, 1, 2, 3]
    # Only two failures exist; asking for three changes nothing more.
    assert keep("top_g", [1, 1, 0, 0], [1, 1], keep_failures=3) == [0, 1, 2, 3]


def test_keep_failures_counts_failed_policy_actions_only():
    # Teacher 3 fails too, but the failure to keep is the policy's index 2; a right answer with a
    # reward below 1 (index 1) is no failure, an unscorable action neither.
    success = [True, True, False, False, True]
    assert keep("top_g", [1, 0.5, 0.2], [0.3, 1], success=success, keep_failures=1) == [0, 2, 4]
    assert keep("top_g", [1, NAN], [1, 1], keep_failures=1) == [0, 2]


def test_max_variance_takes_the_best_and_the_worst():
    # 0 .4 .5 | 1, G = 3: k=0 {0 .4 .5}, k=1 {1 0 .4} var .169, k=2 {1 .5 0} var .167.
    assert keep("max_variance", [0.0, 0.4, 0.5], [1.0]) == [0, 1, 3]


def test_max_variance_takes_the_smallest_k_on_a_tie():
    # 1 1 1 0 0 0, G = 3: one right and two wrong vary as much as two right and one wrong.
    assert keep("max_variance", [1, 1, 0], [1, 0, 0]) == [0, 2, 4]


def test_max_variance_prefers_the_policy_at_both_ends_and_leaves_nan_out():
    assert keep("max_variance", [1, 1, 1, 1], [1, 1]) == [0, 1, 2, 3]
    assert keep("max_variance", [0, 0], [1, 0]) == [0, 2]
    assert keep("max_variance", [0, NAN], [1, 0.5]) == [0, 2]
    assert keep("max_variance", [NAN, 1, NAN], [NAN]) == [0, 1, 2]


def test_quota_takes_the_best_teachers_and_the_first_policy_actions():
    assert keep("quota", [0, 1, 0, 1], [0, 1]) == [0, 1, 2, 5]
    assert keep("quota", [0, 1, 0, 1], [0, 1], choose="first") == [0, 1, 2, 4]
    assert keep("quota", [0, 1, 0, 1], [0, 1], teacher_rows=2) == [0, 1, 4, 5]
    assert keep("quota", [0, 1, 0, 1], [0, 1], teacher_rows=0) == [0, 1, 2, 3]


def test_quota_fills_missing_and_unscorable_teachers_with_policy_actions():
    assert keep("quota", [0, 1, 0, 1], [1], teacher_rows=3) == [0, 1, 2, 4]
    assert keep("quota", [0, 1, 0, 1], [NAN, 0], choose="first", teacher_rows=2) == [0, 1, 2, 5]
    assert keep("quota", [NAN, 1, 0, 1], []) == [0, 1, 2, 3]


def test_on_failure_asks_the_teacher_only_where_too_few_policy_actions_succeeded():
    assert keep("on_failure", [0, 0, 0], [1]) == [0, 1, 3]
    assert keep("on_failure", [0, 1, 0], [1]) == [0, 1, 2]
    assert keep("on_failure", [0, 1, 0], [1], min_successes=2) == [0, 1, 3]
    # Success is about accuracy: high rewards without success still call for the teacher.
    success = [False, False, False, True]
    assert keep("on_failure", [1, 1, 1], [0], success=success) == [0, 1, 3]


def test_policy_only_is_grpo():
    assert keep("policy_only", [0, NAN, 0], [1, 1]) == [0, 1, 2]


def test_wrong_use_is_named():
    with pytest.raises(ConfigError, match="Unknown selection rule 'topg'; did you mean 'top_g'"):
        get_rule("topg")
    with pytest.raises(ConfigError, match="did you mean 'keep_failures'"):
        get_rule("top_g", {"keep_failure": 1})
    with pytest.raises(ConfigError, match=r"keep_failures is 4; .* group size 3"):
        keep("top_g", [0, 0, 0], [1], keep_failures=4)
    with pytest.raises(ConfigError, match="Unknown choice of teacher actions 'bets'"):
        keep("quota", [0, 0], [1], choose="bets")
    with pytest.raises(ValueError, match="Cannot keep 3 of 2"):
        keep("top_g", [0, 0], [], group_size=3)
    with pytest.raises(ValueError, match="finite"):
        keep("top_g", [0, math.inf], [])
