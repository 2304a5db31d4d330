"""build_group: one path from scored candidates to advantages."""

import math

import pytest

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.groups.build import build_group, placement
from ekipl_lab.types import Action, RewardBreakdown, Sample

SAMPLE = Sample("s/0", "counting", "train", (), "How many?", "3", "number")
WEIGHTS = {"accuracy": 1.0, "format": 0.5}


def action(source):
    return Action(f"<answer>{source}</answer>", source, source)


def reward(accuracy, formatted=1.0):
    components = {"accuracy": accuracy, "format": formatted}
    return RewardBreakdown(components, WEIGHTS, None if accuracy is None else accuracy >= 1)


ACTIONS = [action("policy"), action("policy"), action("policy"), action("a"), action("b")]


def test_group_by_hand():
    # Totals 0.5 1.5 0.5 | 1.5 0.5: kept 1, 3 and, of the tie at 0.5, the first policy action.
    rewards = [reward(0), reward(1), reward(0), reward(1), reward(0)]
    group = build_group(SAMPLE, ACTIONS, rewards, rule="top_g", group_size=3)
    assert group.kept == (0, 1, 3)
    # Kept 0.5 1.5 1.5: mean 7/6, ddof-1 std 1/sqrt(3).
    scale = 1 / math.sqrt(3) + 1e-4
    expected = [(-2 / 3) / scale, (1 / 3) / scale, (1 / 3) / scale]
    assert group.advantages == pytest.approx(expected, abs=1e-6)
    assert group.candidates == tuple(ACTIONS) and group.rewards == tuple(rewards)
    assert group.rule == "top_g" and group.sample is SAMPLE
    # Row 2, whose policy action was dropped, trains on the teacher's action.
    assert placement(group) == [0, 1, 3]


def test_unscorable_actions_are_neither_success_nor_zero():
    rewards = [reward(None), reward(0), reward(0), reward(1), reward(None)]
    group = build_group(SAMPLE, ACTIONS, rewards, rule="top_g", group_size=3)
    assert group.kept == (1, 2, 3)
    assert placement(group) == [3, 1, 2]
    silent = build_group(SAMPLE, ACTIONS, rewards, rule="policy_only", group_size=3)
    assert silent.kept == (0, 1, 2) and silent.advantages == (0.0, 0.0, 0.0)


def test_rule_parameters_and_baseline_are_passed_on():
    rewards = [reward(1), reward(1), reward(0), reward(1), reward(1)]
    group = build_group(
        SAMPLE, ACTIONS, rewards, rule="top_g", group_size=3, keep_failures=1,
        baseline="policy", scale_rewards="none",
    )  # fmt: skip
    assert group.kept == (0, 1, 2)
    # Policy mean (1.5 + 1.5 + 0.5) / 3 = 7/6.
    assert group.advantages == pytest.approx([1 / 3, 1 / 3, -2 / 3])


def test_several_teachers_take_the_dropped_rows_in_order():
    rewards = [reward(0), reward(1), reward(0), reward(1), reward(1)]
    group = build_group(SAMPLE, ACTIONS, rewards, rule="top_g", group_size=3)
    assert group.kept == (1, 3, 4)
    assert placement(group) == [3, 1, 4]


def test_wrong_pools_are_refused():
    rewards = [reward(0)] * 5
    with pytest.raises(DataError, match="'s/0' has 5 actions and 4 rewards"):
        build_group(SAMPLE, ACTIONS, rewards[:4], group_size=3)
    with pytest.raises(DataError, match=r"exactly 2 policy actions.* the pool has 3"):
        build_group(SAMPLE, ACTIONS, rewards, group_size=2)
    with pytest.raises(DataError, match="listed before the teachers'"):
        build_group(SAMPLE, ACTIONS[::-1], rewards, group_size=3)
    with pytest.raises(ConfigError, match="Unknown selection rule"):
        build_group(SAMPLE, ACTIONS, rewards, rule="best", group_size=3)
    with pytest.raises(ConfigError, match="Unknown parameter of selection rule 'top_g'"):
        build_group(SAMPLE, ACTIONS, rewards, rule="top_g", group_size=3, teacher_rows=1)
