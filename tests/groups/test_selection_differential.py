"""Selection rules against slow independent implementations, on random pools.

The references work on sorted tuples, enumerate subsets, and share no code with the library.
"""

import itertools
import math
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from ekipl_lab.groups.selection import SELECTION_RULES

REWARD = st.sampled_from([math.nan, -1.0, -0.25, 0.0, 0.1, 0.5, 1.0, 1.1])


@st.composite
def pools(draw):
    group_size = draw(st.integers(2, 5))
    teachers = draw(st.integers(0, 4))
    count = group_size + teachers
    rewards = draw(st.lists(REWARD, min_size=count, max_size=count))
    is_policy = [i < group_size for i in range(count)]
    success = [draw(st.booleans()) and not math.isnan(r) for r in rewards]
    return rewards, is_policy, success, group_size


def rank_key(rewards, is_policy, i):
    unscorable = math.isnan(rewards[i])
    return (unscorable, 0 if unscorable else -rewards[i], not is_policy[i], i)


@given(pools(), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_top_g(pool, failures):
    rewards, is_policy, success, size = pool
    failures = min(failures, size)
    order = sorted(range(len(rewards)), key=lambda i: rank_key(rewards, is_policy, i))
    failed = [i for i in order if is_policy[i] and not success[i] and not math.isnan(rewards[i])]
    need = min(failures, len(failed))
    # The kept set is the best-ranked one among all sets with enough failures, where sets are
    # compared by the ranks they hold: among forced failures the best, then the best others.
    rank = {i: position for position, i in enumerate(order)}
    feasible = [
        subset
        for subset in itertools.combinations(range(len(rewards)), size)
        if sum(i in failed for i in subset) >= need
    ]
    expected = min(feasible, key=lambda subset: sorted(rank[i] for i in subset))
    kept = SELECTION_RULES["top_g"](rewards, is_policy, success, size, keep_failures=failures)
    assert kept == sorted(expected)


@given(pools())
@settings(max_examples=200, deadline=None)
def test_max_variance(pool):
    rewards, is_policy, success, size = pool
    scorable = [i for i in range(len(rewards)) if not math.isnan(rewards[i])]
    kept = SELECTION_RULES["max_variance"](rewards, is_policy, success, size)
    if len(scorable) <= size:
        order = sorted(range(len(rewards)), key=lambda i: rank_key(rewards, is_policy, i))
        assert kept == sorted(order[:size])
        return

    def pair_spread(chosen):
        values = [Fraction(rewards[i]) for i in chosen]
        return sum((a - b) ** 2 for a, b in itertools.combinations(values, 2))

    best_spread, expected = -1, None
    for k in range(size + 1):
        down = sorted(scorable, key=lambda i: (-rewards[i], not is_policy[i], i))[:k]
        up = sorted(scorable, key=lambda i: (rewards[i], not is_policy[i], i))
        chosen = down + [i for i in up if i not in down][: size - k]
        if pair_spread(chosen) > best_spread:
            best_spread, expected = pair_spread(chosen), sorted(chosen)
    assert kept == expected
    # No subset at all varies more: the claim the rule is named after.
    subsets = itertools.combinations(scorable, size)
    assert best_spread == max(pair_spread(subset) for subset in subsets)


@given(pools(), st.integers(0, 4), st.integers(0, 4), st.sampled_from(["best", "first"]))
@settings(max_examples=200, deadline=None)
def test_quota_and_on_failure(pool, teacher_rows, min_successes, choose):
    rewards, is_policy, success, size = pool
    teacher_rows, min_successes = min(teacher_rows, size), min(min_successes, size)
    able = [i for i in range(size, len(rewards)) if not math.isnan(rewards[i])]
    if choose == "best":
        able.sort(key=lambda i: (-rewards[i], i))
    teachers = sorted(able[:teacher_rows])
    expected = list(range(size - len(teachers))) + teachers
    params = {"teacher_rows": teacher_rows, "choose": choose}
    assert SELECTION_RULES["quota"](rewards, is_policy, success, size, **params) == expected
    enough = sum(success[:size]) >= min_successes
    kept = SELECTION_RULES["on_failure"](
        rewards, is_policy, success, size, min_successes=min_successes, **params
    )
    assert kept == (list(range(size)) if enough else expected)


@given(pools(), st.sampled_from(sorted(SELECTION_RULES)))
@settings(max_examples=200, deadline=None)
def test_every_rule_keeps_g_different_actions_in_pool_order(pool, rule):
    rewards, is_policy, success, size = pool
    kept = SELECTION_RULES[rule](rewards, is_policy, success, size)
    assert len(kept) == size and kept == sorted(set(kept))
    assert all(type(i) is int and 0 <= i < len(rewards) for i in kept)
