"""Advantages: numbers worked out by hand, TRL's arithmetic, and the bound."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trl.trainer.utils import nanstd

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.advantages import compute_advantages

NAN = math.nan


def test_kept_baseline_by_hand():
    # Kept 1 0 0 1: mean 0.5, ddof-1 variance 4 * 0.25 / 3 = 1/3, std 0.57735.
    result = compute_advantages([1, 0, 0, 0, 1], [0, 1, 2, 4], [True] * 4 + [False])
    expected = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    assert result == pytest.approx([expected, -expected, -expected, expected], abs=1e-6)


def test_other_baselines_and_spreads_by_hand():
    rewards, kept, is_policy = [1, 0, 0, 0, 1], [0, 1, 2, 4], [True] * 4 + [False]
    none = {"scale_rewards": "none"}
    # Means: kept 2/4, pool 2/5, policy 1/4.
    for baseline, mean in {"kept": 0.5, "pool": 0.4, "policy": 0.25}.items():
        result = compute_advantages(rewards, kept, is_policy, baseline=baseline, **none)
        assert result == pytest.approx([1 - mean, -mean, -mean, 1 - mean])
    # Pool spread: mean 0.4, squares 2 * 0.36 + 3 * 0.16 = 1.2, over 4 = 0.3.
    result = compute_advantages(rewards, kept, is_policy, scale_rewards="pool")
    assert result[0] == pytest.approx(0.5 / (math.sqrt(0.3) + 1e-4), abs=1e-6)


def test_a_kept_group_without_spread_does_not_blow_up():
    # All kept are right, the policy's own mean is 0.25: the bare difference, not 0.75 / 1e-4.
    rewards, is_policy = [1, 0, 0, 0, 1, 1, 1], [True] * 4 + [False] * 3
    result = compute_advantages(rewards, [0, 4, 5, 6], is_policy, baseline="policy")
    assert result == pytest.approx([0.75] * 4)
    assert compute_advantages(rewards, [0, 4, 5, 6], is_policy) == [0.0] * 4


def test_the_bound_holds_where_the_spread_is_tiny():
    # Kept spread 0.001, difference about 1: unbounded this would be near 900.
    rewards, is_policy = [0.0, 0.0, 1.0, 1.001], [True, True, False, False]
    result = compute_advantages(rewards, [2, 3], is_policy, baseline="policy")
    assert result == pytest.approx([math.sqrt(2)] * 2)


def test_unscorable_actions_get_no_advantage_and_move_no_mean():
    # Scorable kept: 1 and 0, mean 0.5, ddof-1 std sqrt(0.5).
    expected = 0.5 / (math.sqrt(0.5) + 1e-4)
    result = compute_advantages([1, NAN, 0], [0, 1, 2], [True] * 3)
    assert result == pytest.approx([expected, 0.0, -expected], abs=1e-6)
    assert compute_advantages([1, NAN], [0, 1], [True] * 2) == [0.0, 0.0]


def test_unknown_names():
    with pytest.raises(ConfigError, match="Unknown baseline 'keept'; did you mean 'kept'"):
        compute_advantages([1, 0], [0, 1], [True] * 2, baseline="keept")
    with pytest.raises(ConfigError, match="Unknown scale_rewards 'batch'"):
        compute_advantages([1, 0], [0, 1], [True] * 2, scale_rewards="batch")


REWARDS = st.lists(
    st.one_of(st.just(NAN), st.floats(-2, 2, width=32), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=2,
    max_size=10,
)


@given(REWARDS, st.sampled_from(["group", "none"]))
@settings(max_examples=300, deadline=None)
def test_kept_baseline_is_trls_arithmetic_bit_for_bit(rewards, scale):
    """The lines of GRPOTrainer (sum_then_normalize), on one group."""
    tensor = torch.tensor(rewards, dtype=torch.float32)
    size = len(rewards)
    mean = torch.nanmean(tensor.view(-1, size), dim=1).repeat_interleave(size, dim=0)
    std = nanstd(tensor.view(-1, size), dim=1).repeat_interleave(size, dim=0)
    expected = tensor - mean
    if scale == "group":
        expected = expected / (std + 1e-4)
    expected = torch.nan_to_num(expected, nan=0.0)
    result = compute_advantages(rewards, list(range(size)), [True] * size, scale_rewards=scale)
    assert torch.equal(torch.tensor(result), expected)


@given(
    REWARDS,
    st.sampled_from(["kept", "pool", "policy"]),
    st.sampled_from(["group", "pool"]),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_the_bound(rewards, baseline, scale, data):
    count = len(rewards)
    kept = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=2)))
    policies = data.draw(st.integers(1, count))
    is_policy = [i < policies for i in range(count)]
    result = compute_advantages(rewards, kept, is_policy, baseline=baseline, scale_rewards=scale)
    assert all(math.isfinite(a) and abs(a) <= math.sqrt(len(kept)) + 1e-5 for a in result)


@given(REWARDS, st.floats(0.1, 100))
@settings(max_examples=300, deadline=None)
def test_the_bound_in_units_of_the_reward(rewards, size):
    """`kept` with `none`: a mean of G lies no further from a value than (1 - 1/G) of the range."""
    scaled = [size * reward for reward in rewards]
    kept = list(range(len(scaled)))
    result = compute_advantages(scaled, kept, [True] * len(kept), scale_rewards="none")
    known = [reward for reward in scaled if not math.isnan(reward)]
    bound = (1 - 1 / len(known)) * (max(known) - min(known)) if known else 0.0
    assert all(math.isfinite(a) and abs(a) <= bound + 1e-4 * size for a in result)


def test_the_bound_in_units_of_the_reward_is_reached():
    # One right of four, worth 100: mean 25, and the right one lies 75 = (1 - 1/4) 100 above it.
    result = compute_advantages([100, 0, 0, 0], [0, 1, 2, 3], [True] * 4, scale_rewards="none")
    assert result == pytest.approx([75.0, -25.0, -25.0, -25.0])


@pytest.mark.parametrize("baseline", ["pool", "policy"])
def test_other_baselines_are_cut_without_a_spread_too(baseline):
    rewards, is_policy = [0.0, 0.0, 50.0, 100.0], [True, True, False, False]
    result = compute_advantages(rewards, [2, 3], is_policy, baseline=baseline, scale_rewards="none")
    assert result == pytest.approx([min(math.sqrt(2), {"pool": 12.5, "policy": 50}[baseline]),
                                    math.sqrt(2)])  # fmt: skip


def test_rounding_of_equal_rewards_is_no_spread():
    # Eleven rewards of 0.1 have a float32 standard deviation above 0; the difference stays bare.
    rewards, is_policy = [0.0] * 11 + [0.1] * 11, [True] * 11 + [False] * 11
    advantages = compute_advantages(rewards, list(range(11, 22)), is_policy, baseline="policy")
    assert advantages == pytest.approx([0.1] * 11)
