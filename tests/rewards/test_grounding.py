"""Boxes and points: IoU by hand, what is no answer, and truths that cannot be scored."""

import pytest

from ekipl_lab.errors import RewardError
from ekipl_lab.rewards import check_ground_truth, get_scorer
from ekipl_lab.rewards.grounding import iou, match_box, match_boxes, match_point, read_groups
from ekipl_lab.rewards.matchers import Truth
from ekipl_lab.types import Action, Sample

BOX = Truth("[0, 0, 100, 100]")


@pytest.mark.parametrize(
    ("other", "value"),
    [
        ((0, 0, 100, 100), 1.0),
        ((0, 0, 100, 50), 0.5),  # half of it
        ((50, 0, 150, 100), 1 / 3),  # 5,000 shared of 15,000
        ((50, 50, 150, 150), 2500 / 17500),
        ((100, 0, 200, 100), 0.0),  # an edge in common
        ((200, 200, 300, 300), 0.0),
    ],
)
def test_iou_by_hand(other, value):
    assert iou((0, 0, 100, 100), other) == pytest.approx(value, abs=1e-15)
    assert iou(other, (0, 0, 100, 100)) == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("[1, 2, 3, 4]", [(1, 2, 3, 4)]),
        ("**(1.5, -2)**", [(1.5, -2)]),
        ("[[1,2,3,4], [5,6,7,8]]", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("[1,2,3,4]; [5,6]", [(1, 2, 3, 4), (5, 6)]),
        ("[1, 2, 3]", None),
        ("1, 2, 3, 4", None),
        ("the box is [1, 2, 3, 4]", None),
        ("[1, 2, nan, 4]", None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_what_is_read(text, groups):
    assert read_groups(text) == groups


def test_one_box_by_hand():
    assert match_box("[0, 0, 100, 50]", BOX).value == 1.0  # IoU 0.5 is enough
    assert match_box("[0, 0, 100, 49]", BOX).value == pytest.approx(0.49)
    assert match_box("[0, 0, 100, 50]", Truth(BOX.text, iou=0.75)).value == pytest.approx(0.5)
    assert match_box("[0, 0, 100, 100], [0, 0, 9, 9]", BOX).value == 0.0
    assert match_box("[100, 0, 0, 100]", BOX).value == 0.0  # right of its own left side
    with pytest.raises(RewardError, match="not one box"):
        match_box("[0, 0, 1, 1]", Truth("[0, 0, 1, 1], [2, 2, 3, 3]"))
    with pytest.raises(RewardError, match=r"no \[left, top"):
        match_box("[0, 0, 1, 1]", Truth("[3, 3, 1, 1]"))


def test_several_boxes_are_assigned_one_to_one():
    two = Truth("[0, 0, 10, 10], [20, 0, 30, 10]")
    assert match_boxes("[20, 0, 30, 10], [0, 0, 10, 10]", two).value == 1.0
    assert match_boxes("[0, 0, 10, 10]", two).value == 0.5  # one of two
    assert match_boxes("[0, 0, 10, 10], [0, 0, 10, 10]", two).value == 0.5
    third = match_boxes("[0, 0, 10, 10], [20, 0, 30, 10], [50, 0, 60, 10]", two)
    assert third.value == pytest.approx(2 / 3)  # one too many
    assert match_boxes("[0, 0, 10, 4], [20, 0, 30, 10]", two).value == pytest.approx(0.7)


def test_a_point_by_distance_or_inside_a_box():
    near = Truth("[10, 10]", tolerance="5")
    assert match_point("[13, 14]", near).value == 1.0  # 3, 4, 5
    assert match_point("[13, 14.1]", near).value == 0.0
    assert match_point("[10, 10], [10, 10]", near).value == 0.0
    assert match_point("[100, 0]", BOX).value == 1.0 and match_point("[101, 0]", BOX).value == 0.0
    with pytest.raises(RewardError, match="neither one point nor one box"):
        match_point("[1, 1]", Truth("here"))


def sample(answer_type, answer, **metadata):
    return Sample("s", "t", "train", (), "?", answer, answer_type, metadata=metadata)


def test_through_the_scorer_strict_and_not():
    action = Action("<think>a</think><answer>[0, 0, 100, 49]</answer>", "policy", "m")
    auto, strict = get_scorer("ekipl/auto"), get_scorer("ekipl/strict")
    box = sample("box", BOX.text)
    assert auto(box, action).components["accuracy"] == pytest.approx(0.49)
    assert auto(box, action).success is False
    assert strict(box, action).components["accuracy"] == 0.0
    assert auto(sample("box", BOX.text, iou=0.4), action).success is True
    for one in (
        box,
        sample("boxes", BOX.text),
        sample("point", "[5, 5]"),
        sample("point", "[0, 0, 9, 9]"),
    ):
        check_ground_truth(one)
    with pytest.raises(RewardError, match="Sample s"):
        check_ground_truth(sample("box", "left of it"))
