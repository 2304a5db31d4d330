"""Weights of advantages by sign, by hand."""

import pytest

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.prefix import TeacherPrefix, prefix_length, rows_to_redo
from ekipl_lab.groups.signs import SignWeights, weigh_signs
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.types import POLICY, Action, RewardBreakdown, Sample

ADVANTAGES = [1.5, 0.5, 0.0, -0.5, -1.5]
MINE = [False, True, True, True, True]
RIGHT = [True, True, False, False, True]


def test_neutral_weights_give_the_same_numbers_and_w_reinforce_a_tenth_of_the_positives():
    assert weigh_signs(ADVANTAGES, MINE, RIGHT, SignWeights()) == ADVANTAGES
    weighed = weigh_signs(ADVANTAGES, MINE, RIGHT, SignWeights(positive=0.1))
    assert weighed == pytest.approx([0.15, 0.05, 0.0, -0.5, -1.5])
    weighed = weigh_signs(ADVANTAGES, MINE, RIGHT, SignWeights(negative=0.1))
    assert weighed == pytest.approx([1.5, 0.5, 0.0, -0.05, -0.15])


def test_the_veto_takes_negatives_of_failed_policy_rows_where_a_teacher_row_is_kept():
    veto = SignWeights(veto=True)
    assert weigh_signs(ADVANTAGES, MINE, RIGHT, veto) == [1.5, 0.5, 0.0, 0.0, -1.5]
    assert weigh_signs(ADVANTAGES, [True] * 5, RIGHT, veto) == ADVANTAGES  # no teacher is kept


def test_a_group_is_built_with_them():
    """Rewards 1, 0 of the policy and 1 of a teacher; top_g of G = 2 keeps 1 and 1: no spread."""
    sample = Sample("s", "t", "train", (), "?", "1", "number")
    actions = [Action("a", POLICY, "m"), Action("b", POLICY, "m"), Action("c", "t", "m")]
    rewards = [RewardBreakdown({"a": r}, {"a": 1.0}, r == 1.0) for r in (0.0, 0.0, 1.0)]
    plain = build_group(sample, actions, rewards, group_size=2, rule="top_g")
    assert plain.kept == (0, 2)
    low, high = plain.advantages
    assert low == -high and high > 0.7
    vetoed = build_group(
        sample, actions, rewards, group_size=2, rule="top_g", signs=SignWeights(veto=True)
    )
    assert vetoed.advantages == (0.0, high)


def test_how_much_of_a_chain_begins_a_row_and_which_rows():
    assert [prefix_length(11, s) for s in (0.0, 0.25, 0.9, 0.99)] == [0, 2, 9, 9]
    assert prefix_length(1, 0.9) == 0  # the end of an action is never given
    half = TeacherPrefix(share=0.5)
    assert rows_to_redo([False] * 5, half) == [3, 4]
    assert rows_to_redo([False, True, False, False], half) == []
    assert rows_to_redo([False, True, False, False], TeacherPrefix(share=0.5, min_successes=2)) == [
        2,
        3,
    ]
    assert rows_to_redo([False] * 2, TeacherPrefix(share=0.5, rows=0.1)) == [1]


@pytest.mark.parametrize(
    ("ekipl", "teachers", "says"),
    [
        ({"signs": {"positive": -1}}, True, "ekipl.signs.positive must be 0 or more"),
        ({"prefix": {"share": 1.0}}, True, "ekipl.prefix.share must be less than 1"),
        ({"prefix": {"share": 0.5}}, True, "set ekipl.selection=policy_only"),
        ({"prefix": {"share": 0.5}, "selection": "policy_only"}, False, "is about teachers"),
        ({"schedules": {"prefix.share": [[0, 0.5]]}}, True, "needs ekipl.prefix.share above 0"),
    ],
)
def test_settings_are_checked(ekipl, teachers, says):
    from ekipl_lab.training.config.check import check_run

    raw = {
        "name": "x",
        "policy": {"build": "nano"},
        "teachers": [{"type": "oracle", "id": "o"}] if teachers else [],
        "ekipl": ekipl,
    }
    with pytest.raises(ConfigError, match=says):
        check_run(parse_config(raw), "unused")
